"""Times the phases of a job, and reports them while they run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from shared.jobs import PHASES, Phase

#: milliseconds between two reports of progress: a photo that is done sooner reports none
REPORT_INTERVAL_MS: Final = 200.0
#: phases that take seconds: each is reported when it begins, however short what came before was
_LONG: Final[frozenset[Phase]] = frozenset({"load"})


@dataclass
class PhaseClock:
    """The times of one job.

    Args:
        report: is told the phase that begins, and the percentage done, now and then.
        started_at: now.
        times_ms: milliseconds that each phase took, of those that are done.
    """

    report: Callable[[Phase, int], None] | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    times_ms: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)
    _reported: float = field(default_factory=time.perf_counter)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time what is done inside as the phase `name`."""
        begin = time.perf_counter()
        if self.report is not None and (name in _LONG or (begin - self._reported) * 1000 >= REPORT_INTERVAL_MS):
            self._reported = begin
            self.report(name, round(100 * PHASES.index(name) / len(PHASES)))
        yield
        self.times_ms[name] = round((time.perf_counter() - begin) * 1000, 3)

    def timings(self, created_at: datetime) -> dict[str, float]:
        """Milliseconds per phase, and since the job was taken ("total") and made until then ("queue")."""
        return {
            "queue": round((self.started_at - created_at).total_seconds() * 1000, 3),
            **self.times_ms,
            "total": round((time.perf_counter() - self._start) * 1000, 3),
        }
