"""How much memory a worker's job may fill, where nobody has said it."""

from pathlib import Path
from typing import Final

from shared.settings import Settings

MB: Final = 1024 * 1024
#: of the machine's memory; the rest is for Redis, the web tier and whoever else is there
_FOR_WORKERS: Final = 0.75
#: what a worker needs for the largest photo that is taken, with a large model, in MB
_ENOUGH: Final = 1500
#: of the machine's memory: no worker may have more, also where that is not enough
_AT_MOST: Final = 0.85

_CGROUP: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")


def worker_memory_mb(settings: Settings, cgroup: Path = _CGROUP, proc: Path = _PROC) -> int:
    """`WORKER_MEMORY_MB` of each worker: as it is set, also to 0, or else its share of the machine's memory.

    Without it a job that eats memory would go on until the kernel kills something, and that may be Redis.
    """
    if "worker_memory_mb" in settings.model_fields_set:
        return settings.worker_memory_mb
    there = machine_memory(cgroup, proc) // MB
    share = int(_FOR_WORKERS * there) // max(1, settings.workers)
    return min(max(_ENOUGH, share), int(_AT_MOST * there))


def machine_memory(cgroup: Path = _CGROUP, proc: Path = _PROC) -> int:
    """Bytes of memory that this machine has, or this container may use; 0 where the system does not say.

    Args:
        cgroup: where the control groups are mounted; version 2's `memory.max` and version 1's `memory.limit_in_bytes`
            count, of this process's group and of all around it.
        proc: where the kernel says what it knows.
    """
    known = [line for line in _lines(proc / "meminfo") if line.startswith("MemTotal:")]
    found = [int(line.split()[1]) * 1024 for line in known]
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, own = line.split(":", 2)
        if not controllers:
            found += _limits(cgroup, own, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(cgroup / "memory", own, "memory.limit_in_bytes")
    return min(found, default=0)


def _limits(root: Path, own: str, name: str) -> list[int]:
    """The limits of a group and of those around it; a container sees its own at the root."""
    inner = root / own.strip("/")
    folders = [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root)]
    return [int(line) for folder in folders for line in _lines(folder / name) if line.strip().isdecimal()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
