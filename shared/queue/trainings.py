"""Trainings in Redis: submit, look up, list, cancel, forget. A queue of their own, which only trainers listen on."""

from typing import Final

import redis
from rq.job import Job

from shared.queue import keys, scripts
from shared.queue.connection import queue_errors
from shared.queue.records import BaseRecord
from shared.queue.solo import Kind, SoloQueue
from shared.settings import Settings
from shared.trainings import TRAINING_FUNCTION, TrainingProgress, TrainingRequest


class TrainingRecord(BaseRecord[TrainingRequest, TrainingProgress]):
    """A training as Redis knows it."""


_KIND: Final = Kind(
    queue=keys.TRAINING,
    listed=keys.TRAININGS,
    function=TRAINING_FUNCTION,
    record=TrainingRecord,
    words={
        "crashed": "The trainer died while training, also when tried again.",
        "out_of_memory": "The training needs more memory than the trainer has: a smaller batch or size may do.",
        "timeout": "The training took longer than TRAINING_TIMEOUT.",
    },
)


class TrainingQueue(SoloQueue[TrainingRecord]):
    """The queue of trainings. Safe to share between threads and greenlets."""

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        super().__init__(connection, settings, _KIND)
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
        pipe, settings = self.redis.pipeline(), self._settings
        position = self._enqueue(
            request,
            pipe,
            timeout=settings.training_timeout,
            failure_ttl=settings.result_ttl,
            retries=settings.job_retries,
        )
        pipe.execute()
        return position

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
