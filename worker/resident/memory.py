"""When memory runs out: a limit that ends the horse before the container's does, and the kernel's word on a death."""

import ctypes
import logging
import os
import signal
import threading
from contextvars import copy_context
from pathlib import Path
from typing import Final

from worker.resident.pace import Every

log = logging.getLogger(__name__)

#: seconds between two looks; a process fills some hundred MB meanwhile
INTERVAL: Final = 0.05
MB: Final = 1024 * 1024
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
#: blocks from this size on are the system's again as soon as they are free: a photo of 20 megapixels; and the most
#: that older versions of glibc take
LARGE_BLOCKS: Final = (64 * MB, 32 * MB)
#: bytes that may lie free at the end of the heap
KEPT_FREE: Final = 128 * MB
# names of glibc's `mallopt`
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


class MemoryWatch:
    """Kills a process that takes more memory than it may, and remembers having done it.

    Args:
        limit_mb: memory of its own that the process may have; 0: any.
    """

    def __init__(self, limit_mb: int) -> None:
        self._limit = limit_mb * MB
        self._pid = 0
        self._exceeded = False
        self._kills_before = 0
        self._time_to_count = Every(1.0)
        self._active = threading.Event()
        self._thread: threading.Thread | None = None
        self._context = copy_context()  # for the lines that the thread writes about a job

    def begin(self, pid: int) -> None:
        """Watch a process from now on."""
        if self._time_to_count.has_come() or pid != self._pid:  # not before each of many short jobs
            self._kills_before = kernel_kills()
        self._exceeded, self._pid = False, pid
        self._context = copy_context()
        if not self._limit:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="memory", daemon=True)
            self._thread.start()
        self._active.set()

    def end(self) -> None:
        """Watch it no longer."""
        self._active.clear()

    def was_the_end(self, killed: bool) -> bool:
        """Whether memory was why the process died.

        Args:
            killed: it died of SIGKILL, which is what the kernel does.
        """
        return self._exceeded or (killed and kernel_kills() > self._kills_before)

    def _look(self) -> None:
        while True:
            self._active.wait()
            pid = self._pid
            taken = own_memory(pid)
            if taken > self._limit and self._active.is_set():
                self._exceeded = True
                self._active.clear()
                self._context.run(
                    log.error, "process %d has %d MB, more than WORKER_MEMORY_MB: it is ended", pid, taken // MB
                )
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            threading.Event().wait(INTERVAL)


def own_memory(pid: int) -> int:
    """Bytes of physical memory that nobody but this process uses; 0 if the system does not say."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE


def resident_memory(pid: int) -> int:
    """Bytes of physical memory that a process uses, with what it shares; 0 if the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def die_first() -> None:
    """When the machine or the container is full, let the kernel choose this process and not its parent."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        pass


def keep_pages() -> None:
    """Have this process keep the memory of one photo for the next, where its C library is glibc.

    It would give a photo's arrays back to the system and ask for them anew, and the system makes each page (800 for a
    photo of 0.4 megapixels) when it is first touched.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and any(mallopt(_M_MMAP_THRESHOLD, size) for size in LARGE_BLOCKS):
        mallopt(_M_TRIM_THRESHOLD, KEPT_FREE)


def kernel_kills() -> int:
    """Processes that the kernel has killed for want of memory: of this container, or else of this machine."""
    for path in _kill_counters():
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _kill_counters() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if not controllers:  # version 2
            found.append(root / own.strip("/") / "memory.events")
        elif "memory" in controllers.split(","):  # version 1
            found.append(root / "memory" / own.strip("/") / "memory.oom_control")
    # as a container sees its own, and at last the whole machine
    return [
        *found,
        root / "memory.events",
        root / "memory" / "memory.oom_control",
        Path("/proc/vmstat"),
    ]
