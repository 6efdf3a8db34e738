"""A queue of jobs of another kind than photos, which workers of their own listen on: what all such queues have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar

import redis
from pydantic_core import from_json
from rq import Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.errors import PublicError
from shared.jobs import ErrorInfo, JobState
from shared.queue import keys, scripts
from shared.queue.connection import queue_errors, text
from shared.queue.events import Events
from shared.queue.jobs import JobQueue
from shared.queue.parts import Parts
from shared.queue.records import CRASHED, BaseRecord, CancelOutcome, state_of
from shared.queue.work import SoloLane
from shared.settings import Settings

#: jobs of a kind that may wait
MOST_WAITING: Final = 100


class SoloRequest(Protocol):
    """What such a queue needs to know of a request: a Pydantic model with an id and a time."""

    @property
    def id(self) -> str:
        """Of the job."""

    @property
    def created_at(self) -> datetime:
        """When it was asked for."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """As Pydantic's."""


Record = TypeVar("Record", bound=BaseRecord[Any, Any])


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """What makes one such queue differ from another.

    Attributes:
        queue: name of the RQ queue.
        listed: key of the sorted set of all jobs of the kind; score: creation time in seconds.
        function: the job function, named by its path.
        record: what its jobs are read as.
        words: code of an error -> message, where what workers say of files does not fit.
    """

    queue: str
    listed: str
    function: str
    record: type[Record]
    words: Mapping[str, str]


class SoloQueue(Generic[Record]):
    """It is a `shared.queue.work.Work`. What needs no more than an id is done as for every job.

    Args:
        connection: to Redis.
        settings: the settings.
        kind: of its jobs.
    """

    def __init__(self, connection: redis.Redis, settings: Settings, kind: Kind[Record]) -> None:
        self.redis = connection
        self.events = Events(connection)
        self.lanes = SoloLane(connection, kind.queue)
        self._kind = kind
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

    def _record(self, job_id: str, fields: Mapping[bytes | str, bytes | str], index: int | None) -> Record | None:
        """The job that the fields of its hash describe; `index` is its place in the queue, if it waits there."""
        job = Job(job_id, connection=self.redis, serializer=JSONSerializer)
        try:
            job.restore(fields)
            state = state_of(job.get_status(refresh=False))
            progress = fields.get(keys.PROGRESS.encode()) if state is JobState.RUNNING else None
            return self._kind.record(
                request=job.kwargs["request"],
                state=state,
                position=index + 1 if index is not None and state is JobState.QUEUED else None,
                progress=from_json(progress) if progress else None,
                attempts=int(fields.get(keys.ATTEMPTS.encode(), 0)),
                started_at=None if state is JobState.QUEUED else job.started_at,
                finished_at=job.ended_at if state.is_final else None,
                error=self._error(fields.get(keys.ERROR.encode())) if state is JobState.FAILED else None,
            )
        except (NoSuchJobError, KeyError, ValueError):  # Pydantic's are ValueErrors
            return None

    def _error(self, raw: bytes | str | None) -> ErrorInfo:
        """Why a job failed, in the words for the kind; `raw` is what the worker wrote down, nothing if it died."""
        error = ErrorInfo.model_validate_json(raw) if raw else CRASHED
        return error.model_copy(update={"message": self._kind.words.get(error.code, error.message)})

    @queue_errors()
    def ids(self, limit: int = 0) -> list[str]:
        """Ids of the newest jobs that Redis knows, newest first; 0: of all."""
        members: list[bytes] = self.redis.zrange(self._kind.listed, 0, limit - 1, desc=True)  # type: ignore[assignment]
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
            self.redis.zrem(self._kind.listed, job_id)
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
        members: list[bytes] = self.redis.zrangebyscore(self._kind.listed, "-inf", limit)  # type: ignore[assignment]
        old = [text(member) for member in members]
        gone = set(old) - self._jobs.known(old)
        if gone:
            self.redis.zrem(self._kind.listed, *gone)
            self.redis.zrem(self.lanes.lane.canceled_job_registry.key, *gone)  # which RQ never cleans

    def _enqueue(
        self, request: SoloRequest, pipe: "redis.client.Pipeline", *, timeout: int, failure_ttl: int, retries: int
    ) -> int:
        """Put a job into the queue with a pipeline of the caller's, that has no command yet.

        Args:
            request: what the job function is called with.
            pipe: the pipeline.
            timeout: seconds that an attempt may take.
            failure_ttl: seconds for which a failed job is remembered.
            retries: further attempts after a failure of ours.

        Returns:
            Its position, 1 for the next.

        Raises:
            PublicError: "queue_full".
        """
        lane, waiting = self.lanes.lane, self.lanes.waiting()
        if waiting >= MOST_WAITING:
            raise PublicError("queue_full", f"{waiting} of these are waiting already.", retry_after=60)
        job = lane.create_job(
            self._kind.function,
            kwargs={"request": request.model_dump(mode="json")},
            job_id=request.id,
            timeout=timeout,
            result_ttl=self._settings.result_ttl,
            failure_ttl=failure_ttl,
            retry=Retry(max=retries) if retries else None,
            description=request.id,
        )
        # asked for here, because RQ would ask in the middle of the pipeline
        job.redis_server_version = lane.get_redis_server_version()
        lane.enqueue_job(job, pipeline=pipe)
        pipe.zadd(self._kind.listed, {job.id: request.created_at.timestamp()})
        self.events.publish(job.id, pipe)
        return waiting + 1
