"""Ends the jobs whose horse is done with them, beside the next one.

A thread of the parent: it does nothing that a file could break. Each job keeps its own lease until it has ended.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import redis
from rq.executions import Execution
from rq.job import Job, JobStatus

from shared import logs
from shared.queue import Lane
from shared.settings import Settings
from worker.resident.asked import request_id_of
from worker.resident.ending import Ending, Endings, OpenEndings
from worker.resident.fenced import End, FencedWorker, OpenWork

log = logging.getLogger(__name__)

#: jobs that may wait for their end, the one that is being ended among them; then the parent takes no further one
MOST_WAITING: Final = 2
#: nor while those that wait have so many bytes
MOST_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Waiting:
    """A job that waits for its end."""

    job: Job
    lane: Lane
    execution: Execution
    ending: Ending
    limit: int
    """seconds that storing may take: as many as the job itself"""
    renewed: float = field(default_factory=time.monotonic)
    storing_since: float | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether storing takes longer than a job may: a disk that hangs."""
        since = self.storing_since
        return since is not None and time.monotonic() - since > self.limit


class Closer:
    """Ends jobs one after the other.

    Args:
        connection: a patient connection.
        settings: the settings.
        allowed: as `FencedWorker`.
        name: of the parent.
        work: as `FencedWorker`.
        endings: opens how they end.
    """

    def __init__(
        self,
        connection: redis.Redis,
        settings: Settings,
        allowed: frozenset[str],
        name: str,
        *,
        work: OpenWork,
        endings: OpenEndings,
    ) -> None:
        # the parent's name and a state of its own: the parent is about to run another job
        self._worker = FencedWorker(connection, settings, allowed, name, work=work, prepare_for_work=False)
        self._connection = connection
        self._settings = settings
        self._open = endings
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self, job: Job, lane: Lane, execution: Execution, ending: Ending) -> None:
        """Have a job ended; returns at once."""
        waiting = _Waiting(job, lane, execution, ending, int(job.timeout or self._settings.job_timeout))
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="closer", daemon=True)
            self._thread.start()

    def has_room(self, seconds: float) -> bool:
        """Whether it can take a job; waits so long until it can."""
        with self._changed:
            return self._changed.wait_for(self._has_room, seconds)

    @property
    def is_stuck(self) -> bool:
        """Whether the storage hangs, which nothing here can mend."""
        return any(waiting.is_stuck for waiting in self._all())

    def is_done(self, seconds: float) -> bool:
        """Whether no job waits any more; waits so long until that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def beat(self) -> None:
        """Keep the leases of what waits; to be called often."""
        now = time.monotonic()
        for waiting in self._all():
            if now - waiting.renewed > self._settings.lease / 3 and not waiting.is_stuck:
                waiting.renewed = now
                self._worker.renew(waiting.job, waiting.execution)

    def give_back(self) -> None:
        """Put what still waits back into the queue, in front, at nobody's cost: it ends elsewhere.

        What the thread may still say of these jobs counts no more.
        """
        for waiting in reversed(self._all()):
            if self._worker.put_back(waiting.job, waiting.execution, at_front=True):
                log.info("job %s goes back to the front of the queue", waiting.job.id)

    def _has_room(self) -> bool:
        size = sum(waiting.ending.size for waiting in self._waiting)
        return len(self._waiting) < MOST_WAITING and size < MOST_BYTES

    def _all(self) -> list[_Waiting]:
        with self._changed:
            return list(self._waiting)

    def _run(self) -> None:
        endings: Endings | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                waiting = self._waiting[0]
            with logs.about(job=waiting.job.id, request=request_id_of(waiting.job)):
                try:
                    endings = endings or self._open(self._connection, self._settings)
                    self._end(waiting, endings)
                except Exception:  # its lease runs out, and it is done again
                    log.exception("job %s could not be ended", waiting.job.id)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()
            del waiting  # its pictures, while there is nothing to do

    def _end(self, waiting: _Waiting, endings: Endings) -> None:
        """What RQ does after the function of a job has returned."""
        worker, job, lane = self._worker, waiting.job, waiting.lane
        worker.begin_anew(waiting.execution)
        end: End | None = None
        try:
            waiting.storing_since = time.monotonic()
            try:
                record = endings.store(job, waiting.ending)
            finally:
                waiting.storing_since = None
            job.ended_at = datetime.now(UTC)
            end = worker.end_stored(job, lane, record)
        except Exception as error:  # noqa: BLE001  sorted out by what RQ calls
            job._status = JobStatus.FAILED  # noqa: SLF001  as RQ does
            worker.handle_execution_ended(job, lane, job.failure_callback_timeout)
            worker.handle_exception(job, type(error), error, error.__traceback__)
            worker.handle_job_failure(job, lane, lane.started_job_registry, str(error))
        finally:
            if end is not End.FINISHED:
                worker.jobs.bury(job.id)
                if end is End.CANCELED or worker.jobs.was_deleted(job.id):
                    endings.discard(job)
