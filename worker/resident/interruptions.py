"""Exceptions that a signal raises in a job, wherever in its code that is just then.

Python drops an exception that leaves a destructor, and a signal may well come while one runs.
"""

import signal
import sys
from typing import Final

#: seconds until an alarm that was dropped comes again
AGAIN: Final = 1


class Interruption(BaseException):
    """Ends a job. No `except Exception` around a decoder takes it for a broken file."""

    def repeat(self) -> None:
        """Have it raised once more, soon, if the job still runs then."""
        raise NotImplementedError


class LimitReachedError(Interruption):
    """A job took as long as it may."""

    def repeat(self) -> None:
        """Set RQ's alarm anew."""
        signal.alarm(AGAIN)


def are_not_lost() -> None:
    """From here on, one that Python drops is raised again. To be called once in a process."""
    others = sys.unraisablehook

    def notice(dropped: "sys.UnraisableHookArgs") -> None:
        if isinstance(dropped.exc_value, Interruption):
            dropped.exc_value.repeat()
        else:
            others(dropped)

    sys.unraisablehook = notice
