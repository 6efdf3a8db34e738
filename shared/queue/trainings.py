"""Trainings in Redis: submit, look up, list, cancel, forget. A queue of their own, which only trainers listen on."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import redis
from pydantic import BaseModel, ValidationError
from rq import Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.errors import PublicError
from shared.jobs import ErrorInfo, JobState
from shared.queue import keys, scripts
from shared.queue.connection import queue_errors, text
from shared.queue.events import Events
from shared.queue.jobs import CRASHED, CancelOutcome, JobQueue, state_of
from shared.queue.parts import Parts
from shared.queue.work import SoloLane
from shared.settings import Settings
from shared.trainings import TRAINING_FUNCTION, TrainingProgress, TrainingRequest

#: trainings that may wait
MOST_WAITING: Final = 100
#: what workers say of files, said of trainings
_WORDS: Final = {
    "crashed": "The trainer died while training, also when tried again.",
    "out_of_memory": "The training needs more memory than the trainer has: a smaller batch or size may do.",
    "timeout": "The training took longer than TRAINING_TIMEOUT.",
}


class TrainingRecord(BaseModel):
    """A training as Redis knows it."""

    request: TrainingRequest
    state: JobState
    position: int | None = None
    progress: TrainingProgress | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorInfo | None = None


class TrainingQueue:
    """The queue of trainings. Safe to share between threads and greenlets.

    What needs no more than an id is done as for every job.

    Args:
        connection: to Redis.
        settings: the settings.
    """

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        self.redis = connection
        self.events = Events(connection)
        self.lanes = SoloLane(connection, keys.TRAINING)
        self._jobs = JobQueue(connection, settings)
        self._settings = settings
        self._set_field = connection.register_script(scripts.SET_FIELD)
        self._bury = connection.register_script(scripts.BURY)

    # -- submit and look up

    @queue_errors()
    def submit(self, request: TrainingRequest) -> int:
        """Put a training into the queue.

        Returns:
            Its position, 1 for the next.

        Raises:
            PublicError: "queue_full".
            TransientError: "queue_down".
        """
        waiting = self.lanes.waiting()
        if waiting >= MOST_WAITING:
            raise PublicError("queue_full", f"{waiting} trainings are waiting already.", retry_after=60)
        lane, settings = self.lanes.lane, self._settings
        version = lane.get_redis_server_version()
        job = lane.create_job(
            TRAINING_FUNCTION,
            kwargs={"request": request.model_dump(mode="json")},
            job_id=request.id,
            timeout=settings.training_timeout,
            result_ttl=settings.result_ttl,
            failure_ttl=settings.result_ttl,
            retry=Retry(max=settings.job_retries) if settings.job_retries else None,
            description=request.id,
        )
        job.redis_server_version = version
        pipe = self.redis.pipeline()
        lane.enqueue_job(job, pipeline=pipe)
        pipe.zadd(keys.TRAININGS, {request.id: request.created_at.timestamp()})
        self.events.publish(request.id, pipe)
        pipe.execute()
        return waiting + 1

    @queue_errors()
    def get(self, training_id: str) -> TrainingRecord | None:
        """The training, or None when Redis does not know it (any more)."""
        return self.get_many([training_id])[0]

    @queue_errors()
    def get_many(self, training_ids: Sequence[str]) -> list[TrainingRecord | None]:
        """The trainings in the order asked for; None for those that Redis does not know."""
        pipe = self.redis.pipeline(transaction=False)
        for training_id in training_ids:
            pipe.hgetall(Job.key_for(training_id))
            pipe.lpos(self.lanes.lane.key, training_id)
        found = pipe.execute()
        return [
            self._record(training_id, found[2 * number], found[2 * number + 1])
            for number, training_id in enumerate(training_ids)
        ]

    def _record(
        self, training_id: str, fields: Mapping[bytes | str, bytes | str], index: int | None
    ) -> TrainingRecord | None:
        job = Job(training_id, connection=self.redis, serializer=JSONSerializer)
        try:
            job.restore(fields)
            request = TrainingRequest.model_validate(job.kwargs["request"])
        except (NoSuchJobError, KeyError, ValueError, ValidationError):
            return None
        state = state_of(job.get_status(refresh=False))
        progress = fields.get(keys.PROGRESS.encode())
        return TrainingRecord(
            request=request,
            state=state,
            position=index + 1 if index is not None and state is JobState.QUEUED else None,
            progress=TrainingProgress.model_validate_json(progress) if progress and state is JobState.RUNNING else None,
            attempts=int(fields.get(keys.ATTEMPTS.encode(), 0)),
            started_at=None if state is JobState.QUEUED else job.started_at,
            finished_at=job.ended_at if state.is_final else None,
            error=_error(fields.get(keys.ERROR.encode())) if state is JobState.FAILED else None,
        )

    @queue_errors()
    def ids(self) -> list[str]:
        """Ids of all trainings Redis knows, newest first."""
        members: list[bytes] = self.redis.zrange(keys.TRAININGS, 0, -1, desc=True)  # type: ignore[assignment]
        return [text(member) for member in members]

    @queue_errors()
    def living(self) -> list[TrainingRecord]:
        """Those that wait or run, newest first."""
        return [record for record in self.get_many(self.ids()) if record is not None and not record.state.is_final]

    # -- what the trainer says

    @queue_errors()
    def report_progress(self, training_id: str, progress: TrainingProgress) -> None:
        """Say how far a running training is."""
        self._set_field(
            keys=[Job.key_for(training_id), keys.events(training_id)],
            args=[keys.PROGRESS, progress.model_dump_json()],
        )

    def was_deleted(self, training_id: str) -> bool:
        """Whether somebody deleted the training while a trainer had it: nothing of it may stay behind."""
        return self._jobs.was_deleted(training_id)

    # -- cancel and forget

    def cancel(self, training_id: str) -> CancelOutcome:
        """Keep a waiting training from running, or stop a running one. Raises `PublicError("not_found")`."""
        return self._jobs.cancel(training_id)

    def forget(self, training_id: str) -> bool:
        """Delete all that Redis knows of a training, stopping it first. False when it knew nothing."""
        known = self._jobs.forget(training_id)
        with queue_errors():
            self.redis.zrem(keys.TRAININGS, training_id)
        return known

    # -- what its workers ask for: `shared.queue.work.Work`

    @property
    def parts(self) -> Parts:
        """Trainings have none; those of videos are looked after by whoever is alive."""
        return self._jobs.parts

    def mark_canceled(self, job: Job) -> None:
        """Give a training that does not run its end as canceled."""
        self._jobs.mark_canceled(job)

    def bury(self, job_id: str) -> None:
        """Delete what the end of its run left of a training that was deleted meanwhile."""
        lane = self.lanes.lane
        registries = (lane.failed_job_registry, lane.finished_job_registry, lane.canceled_job_registry)
        self._bury(
            keys=[
                Job.key_for(job_id),
                keys.deleted(job_id),
                f"rq:results:{job_id}",
                *(registry.key for registry in registries),
            ],
            args=[job_id],
        )

    def expire_due(self) -> int:
        """Trainings have no deadline."""
        return 0

    @queue_errors()
    def forget_expired(self, longest_ttl: int) -> None:
        """Take trainings that Redis has forgotten off the list."""
        limit = datetime.now(UTC).timestamp() - longest_ttl
        members: list[bytes] = self.redis.zrangebyscore(keys.TRAININGS, "-inf", limit)  # type: ignore[assignment]
        old = [text(member) for member in members]
        gone = set(old) - self._jobs.known(old)
        if gone:
            self.redis.zrem(keys.TRAININGS, *gone)
            self.redis.zrem(self.lanes.lane.canceled_job_registry.key, *gone)  # which RQ never cleans


def _error(raw: bytes | str | None) -> ErrorInfo:
    error = ErrorInfo.model_validate_json(raw) if raw else CRASHED
    return error.model_copy(update={"message": _WORDS.get(error.code, error.message)})
