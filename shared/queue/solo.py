"""A queue of jobs of another kind than photos, which workers of their own listen on: what all such queues have."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Generic, TypeVar

import redis
from rq import Retry
from rq.job import Job

from shared.errors import PublicError
from shared.jobs import ErrorInfo
from shared.queue import keys, scripts
from shared.queue.connection import queue_errors, text
from shared.queue.events import Events
from shared.queue.jobs import CRASHED, CancelOutcome, JobQueue
from shared.queue.parts import Parts
from shared.queue.work import SoloLane
from shared.settings import Settings

#: what Redis knows of a job of the kind
Record = TypeVar("Record")


class SoloQueue(ABC, Generic[Record]):
    """It is a `shared.queue.work.Work`. What needs no more than an id is done as for every job.

    Args:
        connection: to Redis.
        settings: the settings.
        name: of the RQ queue.
        listed: key of the sorted set of all jobs of the kind; score: creation time in seconds.
    """

    def __init__(self, connection: redis.Redis, settings: Settings, name: str, listed: str) -> None:
        self.redis = connection
        self.events = Events(connection)
        self.lanes = SoloLane(connection, name)
        self._listed = listed
        self._jobs = JobQueue(connection, settings)
        self._settings = settings
        self._bury = connection.register_script(scripts.BURY)

    @queue_errors()
    def get(self, job_id: str) -> Record | None:
        """The job, or None when Redis does not know it (any more)."""
        return self.get_many([job_id])[0]

    @queue_errors()
    def get_many(self, job_ids: Sequence[str]) -> list[Record | None]:
        """The jobs in the order asked for; None for those that Redis does not know."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(Job.key_for(job_id))
            pipe.lpos(self.lanes.lane.key, job_id)
        found = pipe.execute()
        return [self._record(job_id, found[2 * i], found[2 * i + 1]) for i, job_id in enumerate(job_ids)]

    @abstractmethod
    def _record(self, job_id: str, fields: Mapping[bytes | str, bytes | str], index: int | None) -> Record | None:
        """The job that the fields of its hash describe; `index` is its place in the queue, if it waits there."""

    @queue_errors()
    def ids(self, limit: int = 0) -> list[str]:
        """Ids of the newest jobs that Redis knows, newest first; 0: of all."""
        members: list[bytes] = self.redis.zrange(self._listed, 0, limit - 1, desc=True)  # type: ignore[assignment]
        return [text(member) for member in members]

    @property
    def parts(self) -> Parts:
        """As `Work`: these have none; those of videos are looked after by whoever is alive."""
        return self._jobs.parts

    def was_deleted(self, job_id: str) -> bool:
        """Whether somebody deleted the job while a worker had it: nothing of it may stay behind."""
        return self._jobs.was_deleted(job_id)

    def cancel(self, job_id: str) -> CancelOutcome:
        """Keep a waiting job from running, or end a running one at once. Raises `PublicError("not_found")`."""
        return self._jobs.cancel(job_id)

    def forget(self, job_id: str) -> bool:
        """Delete all that Redis knows of a job, ending it first. False when it knew nothing."""
        known = self._jobs.forget(job_id)
        with queue_errors():
            self.redis.zrem(self._listed, job_id)
        return known

    def mark_canceled(self, job: Job) -> None:
        """As `Work`."""
        self._jobs.mark_canceled(job)

    def bury(self, job_id: str) -> None:
        """As `Work`."""
        lane = self.lanes.lane
        registries = (lane.failed_job_registry, lane.finished_job_registry, lane.canceled_job_registry)
        named = [Job.key_for(job_id), keys.deleted(job_id), f"rq:results:{job_id}"]
        self._bury(keys=[*named, *(registry.key for registry in registries)], args=[job_id])

    def expire_due(self) -> int:
        """As `Work`: these have no deadline."""
        return 0

    @queue_errors()
    def forget_expired(self, longest_ttl: int) -> None:
        """As `Work`."""
        limit = datetime.now(UTC).timestamp() - longest_ttl
        members: list[bytes] = self.redis.zrangebyscore(self._listed, "-inf", limit)  # type: ignore[assignment]
        old = [text(member) for member in members]
        gone = set(old) - self._jobs.known(old)
        if gone:
            self.redis.zrem(self._listed, *gone)
            self.redis.zrem(self.lanes.lane.canceled_job_registry.key, *gone)  # which RQ never cleans

    def _enqueue(self, job: Job, created_at: datetime, most_waiting: int, pipe: "redis.client.Pipeline") -> int:
        """Put a job into the queue with a pipeline of the caller's, that has no command yet.

        Returns:
            Its position, 1 for the next.

        Raises:
            PublicError: "queue_full".
        """
        waiting = self.lanes.waiting()
        if waiting >= most_waiting:
            raise PublicError("queue_full", f"{waiting} of these are waiting already.", retry_after=60)
        # asked for here, because RQ would ask in the middle of the pipeline
        job.redis_server_version = self.lanes.lane.get_redis_server_version()
        self.lanes.lane.enqueue_job(job, pipeline=pipe)
        pipe.zadd(self._listed, {job.id: created_at.timestamp()})
        self.events.publish(job.id, pipe)
        return waiting + 1


def said_of(words: Mapping[str, str], raw: bytes | str | None) -> ErrorInfo:
    """Why a job failed: what workers say of files, in the words for the kind.

    Args:
        words: code -> message, where the usual one does not fit.
        raw: what the worker wrote down; nothing if it died.
    """
    error = ErrorInfo.model_validate_json(raw) if raw else CRASHED
    return error.model_copy(update={"message": words.get(error.code, error.message)})


def retries(most: int) -> Retry | None:
    """So many further attempts after a failure of ours, as RQ wants it."""
    return Retry(max=most) if most else None
