"""The alarm at a job's time limit."""

from typing import Any

from rq.timeouts import (
    BaseTimeoutException,
    HorseMonitorTimeoutException,
    JobTimeoutException,
    UnixSignalDeathPenalty,
)

from worker.resident.interruptions import LimitReachedError


class LimitPenalty(UnixSignalDeathPenalty):
    """RQ's alarm, with an exception for the job's limit that reaches the top.

    None for the parent that waits for its horse: it could cut a message in two, and that wait ends by itself.
    """

    def __init__(self, timeout: int, exception: type[BaseException] = BaseTimeoutException, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(timeout, LimitReachedError if exception is JobTimeoutException else exception, **kwargs)
        self._never = exception is HorseMonitorTimeoutException

    def setup_death_penalty(self) -> None:
        """RQ's."""
        if not self._never:
            super().setup_death_penalty()

    def cancel_death_penalty(self) -> None:
        """RQ's."""
        if not self._never:
            super().cancel_death_penalty()
