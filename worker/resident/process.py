"""The process of the horse as its parent sees it: born, fed, listened to, stopped, dead."""

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from multiprocessing.context import SpawnProcess
from typing import Final, cast

from worker.resident import horse

log = logging.getLogger(__name__)

#: seconds that a process whose pipe has ended takes to end itself
DYING: Final = 1.0
#: seconds that the function of a stopped job has to end by itself, before its process is killed
STOP_GRACE: Final = 1.5
#: how often it is looked whether it has
STOP_LOOKS: Final = 15


class Sign(Enum):
    """What a horse that was waited for has given."""

    NOTHING = 0
    REPORT = 1
    DEATH = 2


class HorseProcess:
    """At most one process at a time.

    Args:
        orders: what it is told at its birth.
    """

    def __init__(self, orders: Callable[[], horse.Orders]) -> None:
        self._orders = orders
        self._process: SpawnProcess | None = None
        self._pipe: multiprocessing.connection.Connection | None = None
        self._shared = horse.SharedWords()
        self.births = 0

    @property
    def is_alive(self) -> bool:
        """Whether there is one."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int:
        """Its process id; 0: there is none."""
        return self._process.pid or 0 if self._process is not None else 0

    def spawn(self) -> None:
        """Start one, after the end of the one before. From the main thread only.

        The kernel's death signal follows the thread that spawned.
        """
        self.bury()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._shared = context.RawValue(horse.SharedWords)
        self._process = context.Process(
            target=horse.main, args=(theirs, self._shared, self._orders()), name="horse", daemon=True
        )
        self._process.start()
        self.births += 1
        theirs.close()

    def bury(self) -> None:
        """End it, if there is one."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(0.5)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process.close()
        self._pipe = self._process = None

    def send(self, order: horse.Order) -> None:
        """Give it a job. Whether it is dead, `wait` tells."""
        with suppress(OSError):
            if self._pipe is not None:
                self._pipe.send(order)

    def wait(self, seconds: float) -> Sign:
        """Wait for a report or for its death; for so long."""
        if self._pipe is None or self._process is None:
            return Sign.DEATH
        ready = multiprocessing.connection.wait([self._pipe, self._process.sentinel], seconds)
        if not ready:
            return Sign.NOTHING
        return Sign.REPORT if self._pipe in ready else Sign.DEATH

    def read(self) -> horse.Report | None:
        """What it says; None if it died in the middle of that."""
        try:
            return None if self._pipe is None else cast(horse.Report, self._pipe.recv())
        except (EOFError, OSError):
            return None

    def wait_status(self) -> int:
        """How the dead one died, as `os.wait` tells it."""
        if self._process is None:
            return os.EX_TEMPFAIL << 8
        self._process.join(DYING)
        if self._process.is_alive():  # what it said made no sense
            self._process.kill()
            self._process.join()
        self._shared = horse.SharedWords()  # the dead one is in no function
        code = self._process.exitcode or 0
        return -code if code < 0 else (code << 8 or os.EX_TEMPFAIL << 8)

    def stop(self, job_id: str, execution_id: str) -> None:
        """Interrupt a run of a job, if it is at that. The process stays, unless it stays in the job's function.

        What may hang after that function, RQ ends a minute after the job's limit.
        """
        self._shared.wanted = job_id.encode()
        self.signal(signal.SIGUSR1)
        threading.Thread(target=self._kill_if_inside, args=(execution_id.encode(),), daemon=True).start()

    def _kill_if_inside(self, execution_id: bytes) -> None:
        for _ in range(STOP_LOOKS):  # a machine that stands still for a while takes one of them, and not all
            time.sleep(STOP_GRACE / STOP_LOOKS)
            if self._shared.inside != execution_id:
                return
        self.signal(signal.SIGKILL)

    def signal(self, sig: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)
