"""What time it is for a worker: when something is due again, and whether leases can be trusted."""

import logging
import time

log = logging.getLogger(__name__)


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


class LeaseWatch:
    """Whether a lease that has run out tells of a death.

    It does not just after the living had no way to renew theirs. Let them do so before jobs are taken away.

    Args:
        lease: seconds that one lasts.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._not_before = 0.0
        self._lead = clock_lead()
        self._last_noticed = time.monotonic()

    def distrust(self) -> None:
        """Redis was away: for a lease from now on."""
        self._not_before = time.monotonic() + self._lease

    def notice(self) -> None:
        """To be called before and after whatever may wait for Redis.

        If nothing was said for long, Redis was away, or this process stood still.
        """
        now = time.monotonic()
        if now - self._last_noticed > self._lease / 2:
            self.distrust()
        self._last_noticed = now

    def can_be_trusted(self) -> bool:
        """Whether it does now: the clock was not set either, nor has the machine slept."""
        lead = clock_lead()
        if abs(lead - self._lead) > self._lease / 3:
            log.warning("the clock of this machine has jumped by %+.0f s", lead - self._lead)
            self.distrust()
        self._lead = lead
        self.notice()
        return time.monotonic() >= self._not_before
