"""What time it is for a worker: when something is due again, and whether the clock was set."""

import time


class Every:
    """Says once in so many seconds that the time has come, and at first at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def has_come(self) -> bool:
        """Whether it has; then it has not for a while."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


def clock_lead() -> float:
    """What the wall clock is ahead of the time that passes: changes only when the clock is set or the machine sleeps.

    Leases are written in wall time, which alone all machines have in common.
    """
    return time.time() - time.monotonic()
