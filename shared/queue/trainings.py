"""Trainings in Redis: submit, look up, list, cancel, forget. A queue of their own, which only trainers listen on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import redis
from pydantic import BaseModel, ValidationError
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.jobs import ErrorInfo, JobState
from shared.queue import keys, scripts
from shared.queue.connection import queue_errors
from shared.queue.jobs import state_of
from shared.queue.solo import SoloQueue, retries, said_of
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


class TrainingQueue(SoloQueue[TrainingRecord]):
    """The queue of trainings. Safe to share between threads and greenlets."""

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        super().__init__(connection, settings, keys.TRAINING, keys.TRAININGS)
        self._set_field = connection.register_script(scripts.SET_FIELD)

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
        lane, settings = self.lanes.lane, self._settings
        job = lane.create_job(
            TRAINING_FUNCTION,
            kwargs={"request": request.model_dump(mode="json")},
            job_id=request.id,
            timeout=settings.training_timeout,
            result_ttl=settings.result_ttl,
            failure_ttl=settings.result_ttl,
            retry=retries(settings.job_retries),
            description=request.id,
        )
        pipe = self.redis.pipeline()
        position = self._enqueue(job, request.created_at, MOST_WAITING, pipe)
        pipe.execute()
        return position

    def _record(
        self, job_id: str, fields: Mapping[bytes | str, bytes | str], index: int | None
    ) -> TrainingRecord | None:
        job = Job(job_id, connection=self.redis, serializer=JSONSerializer)
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
            error=said_of(_WORDS, fields.get(keys.ERROR.encode())) if state is JobState.FAILED else None,
        )

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
