"""Jobs in Redis: submit, look up, list, cancel, forget. RQ keeps them; this is the one place that asks it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

import redis
from pydantic import BaseModel, ValidationError
from rq import Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from shared.errors import PublicError
from shared.jobs import JOB_FUNCTION, ErrorInfo, JobRequest, JobState, Phase, Progress
from shared.queue import keys
from shared.queue.connection import queue_errors, text
from shared.queue.events import Events
from shared.settings import Settings

log = logging.getLogger(__name__)

_STATES: Final = {
    JobStatus.CREATED: JobState.QUEUED,
    JobStatus.QUEUED: JobState.QUEUED,
    JobStatus.DEFERRED: JobState.QUEUED,
    JobStatus.SCHEDULED: JobState.QUEUED,
    JobStatus.STARTED: JobState.RUNNING,
    JobStatus.FINISHED: JobState.FINISHED,
    JobStatus.FAILED: JobState.FAILED,
    JobStatus.STOPPED: JobState.CANCELED,
    JobStatus.CANCELED: JobState.CANCELED,
}

#: an RQ failure without words of ours: the worker died, and others gave up after the last attempt
CRASHED: Final = ErrorInfo(code="crashed", message="The worker died while working on this file, also when tried again.")

# Set a field of a job and say so, but never bring a deleted job back. KEYS: job hash, events. ARGV: field, value.
_SET_FIELD = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', 32, '*', 'n', 1)
redis.call('EXPIRE', KEYS[2], 3600)
return 1
"""


class JobRecord(BaseModel):
    """A job as Redis knows it."""

    request: JobRequest
    state: JobState
    position: int | None = None
    progress: Progress | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    error: ErrorInfo | None = None


class JobPage(NamedTuple):
    """A page of a list, and where the next begins."""

    records: list[JobRecord]
    next: str | None


class CancelOutcome(StrEnum):
    """What became of a wish to cancel."""

    CANCELED = "canceled"
    STOPPING = "stopping"
    TOO_LATE = "too_late"


class JobQueue:
    """The queue of jobs. Safe to share between threads and greenlets."""

    #: ids looked through at most for one page of a list filtered by state
    SCAN_LIMIT: Final = 2000

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        self.redis = connection
        self.events = Events(connection)
        self._settings = settings
        self._set_field = connection.register_script(_SET_FIELD)
        self._queue = Queue(keys.QUEUE, connection=connection, serializer=JSONSerializer)

    # -- submit

    @queue_errors()
    def submit(self, requests: Sequence[JobRequest]) -> list[int]:
        """Put jobs into the queue: all of them or none.

        Returns:
            The position of each, 1 for the next to be run.

        Raises:
            PublicError: "queue_full".
            TransientError: "queue_down".
        """
        waiting = self.waiting()
        if waiting + len(requests) > self._settings.max_queue:
            raise PublicError(
                "queue_full",
                f"{waiting} jobs are waiting already. Try again in a while.",
                retry_after=self._retry_after(waiting),
            )
        # asked for here, because RQ would ask in the middle of the pipeline
        version = self._queue.get_redis_server_version()
        pipe = self.redis.pipeline()
        for request in requests:
            job = self._queue.create_job(
                JOB_FUNCTION,
                kwargs={"request": request.model_dump(mode="json")},
                job_id=request.id,
                timeout=self._settings.job_timeout,
                result_ttl=self._settings.result_ttl,
                failure_ttl=self._settings.failure_ttl,
                retry=Retry(max=self._settings.job_retries) if self._settings.job_retries else None,
                description=request.id,
            )
            job.redis_server_version = version
            self._queue.enqueue_job(job, pipeline=pipe)
            pipe.zadd(keys.JOBS, {request.id: request.created_at.timestamp()})
            self.events.publish(request.id, pipe)
        pipe.execute()
        return [waiting + number for number in range(1, len(requests) + 1)]

    def _retry_after(self, waiting: int) -> int:
        return max(1, min(60, waiting // 10))

    @queue_errors()
    def waiting(self) -> int:
        """Number of jobs that wait for a worker."""
        return self.redis.llen(self._queue.key)

    # -- look up

    @queue_errors()
    def get(self, job_id: str) -> JobRecord | None:
        """The job, or None when Redis does not know it (any more)."""
        return self.get_many([job_id])[0]

    @queue_errors()
    def get_many(self, job_ids: Sequence[str], *, positions: bool = True) -> list[JobRecord | None]:
        """The jobs in the order asked for; None for those that Redis does not know (any more)."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            key = Job.key_for(job_id)
            pipe.hgetall(key)
            pipe.ttl(key)
        found = pipe.execute()
        records = [self._record(job_id, found[2 * i], found[2 * i + 1]) for i, job_id in enumerate(job_ids)]
        if positions:
            self._add_positions(records)
        return records

    def _add_positions(self, records: Iterable[JobRecord | None]) -> None:
        queued = [record for record in records if record is not None and record.state is JobState.QUEUED]
        pipe = self.redis.pipeline(transaction=False)
        for record in queued:
            pipe.lpos(self._queue.key, record.request.id)
        for record, index in zip(queued, pipe.execute(), strict=True):
            record.position = None if index is None else index + 1

    def _record(self, job_id: str, fields: Mapping[bytes | str, bytes | str], ttl: int) -> JobRecord | None:
        job = Job(job_id, connection=self.redis, serializer=JSONSerializer)
        try:
            job.restore(fields)
            request = JobRequest.model_validate(job.kwargs["request"])
        except (NoSuchJobError, KeyError, ValueError, ValidationError):
            return None
        state = _STATES[job.get_status(refresh=False)]
        error = None
        if state is JobState.FAILED:
            raw = fields.get(keys.ERROR.encode())
            error = ErrorInfo.model_validate_json(raw) if raw else CRASHED
        progress = fields.get(keys.PROGRESS.encode())
        return JobRecord(
            request=request,
            state=state,
            progress=Progress.model_validate_json(progress) if progress and state is JobState.RUNNING else None,
            attempts=int(fields.get(keys.ATTEMPTS.encode(), 0)),
            started_at=None if state is JobState.QUEUED else job.started_at,
            finished_at=job.ended_at if state.is_final else None,
            expires_at=self._expiry(job, state, ttl),
            error=error,
        )

    def _expiry(self, job: Job, state: JobState, ttl: int) -> datetime | None:
        if ttl > 0:
            return datetime.now(UTC) + timedelta(seconds=ttl)
        if state in (JobState.FAILED, JobState.CANCELED) and job.ended_at is not None:
            return job.ended_at + timedelta(seconds=self._settings.failure_ttl)
        return None

    # -- list

    @queue_errors()
    def page(self, *, state: JobState | None, limit: int, cursor: str | None) -> JobPage:
        """A page of jobs, newest first.

        Args:
            state: only such jobs. A page may then hold fewer than `limit` though more follow.
            limit: most jobs on the page.
            cursor: `next` of the page before.

        Raises:
            ValueError: the cursor is none of ours.
        """
        highest = _parse_cursor(cursor)
        records: list[JobRecord] = []
        looked_at = 0
        while looked_at < self.SCAN_LIMIT:
            batch: list[tuple[bytes, float]] = self.redis.zrange(  # type: ignore[assignment]
                keys.JOBS,
                highest,
                "-inf",
                desc=True,
                byscore=True,
                offset=0,
                num=max(limit, 100) + 1,
                withscores=True,
            )
            ids = [text(member) for member, _ in batch]
            for (_, score), record in zip(batch, self.get_many(ids, positions=False), strict=True):
                if len(records) == limit:
                    self._add_positions(records)
                    return JobPage(records, repr(score))
                if record is not None and (state is None or record.state is state):
                    records.append(record)
            if len(batch) <= max(limit, 100):
                self._add_positions(records)
                return JobPage(records, None)
            looked_at += len(batch)
            highest = f"({batch[-1][1]!r}"
        self._add_positions(records)
        return JobPage(records, highest)

    @queue_errors()
    def forget_expired(self, longest_ttl: int) -> None:
        """Take the ids of jobs that Redis must have forgotten by now off the list."""
        self.redis.zremrangebyscore(keys.JOBS, "-inf", datetime.now(UTC).timestamp() - longest_ttl)

    # -- cancel and forget

    @queue_errors()
    def cancel(self, job_id: str) -> CancelOutcome:
        """Keep a waiting job from running, or stop a running one. Raises `PublicError("not_found")`."""
        try:
            job = Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        except NoSuchJobError:
            raise PublicError("not_found", "There is no such job.") from None
        state = _STATES[job.get_status(refresh=False)]
        if state.is_final:
            return CancelOutcome.CANCELED if state is JobState.CANCELED else CancelOutcome.TOO_LATE
        # The flag first: a worker that takes the job in this very moment looks at it before it starts (RQ issue 2160).
        self._set_field(keys=[job.key, keys.events(job_id)], args=[keys.CANCEL, 1])
        if state is JobState.QUEUED:
            self.mark_canceled(job)
            return CancelOutcome.CANCELED
        try:
            send_stop_job_command(self.redis, job_id, serializer=JSONSerializer)
        except (InvalidJobOperation, NoSuchJobError):
            log.info("job %s ended before it could be stopped", job_id)
        return CancelOutcome.STOPPING

    def mark_canceled(self, job: Job) -> None:
        """Give a job that does not run its end as canceled."""
        pipe = self.redis.pipeline()
        job.cancel(pipeline=pipe)
        pipe.hset(job.key, "ended_at", utcformat(datetime.now(UTC)))
        pipe.expire(job.key, self._settings.failure_ttl)
        self.events.publish(job.id, pipe)
        pipe.execute()

    @queue_errors()
    def forget(self, job_id: str) -> bool:
        """Delete all that Redis knows of a job, stopping it first. False when it knew nothing."""
        try:
            job = Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        except NoSuchJobError:
            self.redis.zrem(keys.JOBS, job_id)
            return False
        if not _STATES[job.get_status(refresh=False)].is_final:
            self.cancel(job_id)
        request = self._record(job_id, self.redis.hgetall(job.key), -1)
        job.delete()
        CanceledJobRegistry(keys.QUEUE, connection=self.redis, serializer=JSONSerializer).remove(job)
        pipe = self.redis.pipeline()
        pipe.zrem(keys.JOBS, job_id)
        pipe.delete(f"rq:results:{job_id}")
        if request is not None:
            pipe.delete(keys.cached(request.request.cache_key))
        self.events.publish(job_id, pipe)
        pipe.execute()
        return True

    # -- what the worker says

    def report_progress(self, job_id: str, phase: Phase, percent: int) -> None:
        """Say what a running job is doing."""
        progress = Progress(phase=phase, percent=percent)
        self._set_field(
            keys=[Job.key_for(job_id), keys.events(job_id)], args=[keys.PROGRESS, progress.model_dump_json()]
        )

    # -- the cache of answers

    @queue_errors()
    def find_cached(self, cache_key: str) -> str | None:
        """Id of a finished job with the same bytes, model and options."""
        found = self.redis.get(keys.cached(cache_key))
        return text(found) if found else None

    def remember_cached(self, cache_key: str, job_id: str) -> None:
        """Note a finished job as the answer to its cache key."""
        self.redis.set(keys.cached(cache_key), job_id, ex=self._settings.result_ttl)

    # -- figures

    @queue_errors()
    def count_by_state(self) -> dict[JobState, int]:
        """Jobs that Redis knows in each state. Counts only: runs no clean-up of RQ's in this process."""
        queue = self._queue
        pipe = self.redis.pipeline(transaction=False)
        pipe.llen(queue.key)
        pipe.zcard(queue.started_job_registry.key)
        pipe.zcard(queue.finished_job_registry.key)
        pipe.zcard(queue.failed_job_registry.key)
        pipe.zcard(queue.canceled_job_registry.key)
        return dict(zip(JobState, pipe.execute(), strict=True))

    @queue_errors()
    def oldest_waiting_seconds(self) -> float:
        """Age of the job that has waited longest, 0 when none waits."""
        first = self.redis.lindex(self._queue.key, 0)
        record = self.get_many([text(first)], positions=False)[0] if first else None
        return (datetime.now(UTC) - record.request.created_at).total_seconds() if record else 0.0


def _parse_cursor(cursor: str | None) -> str:
    if cursor is None:
        return "+inf"
    float(cursor.removeprefix("("))
    return cursor
