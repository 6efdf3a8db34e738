"""A resident worker for trainings: its horse is a new one for each."""

import redis
from rq import Queue
from rq.job import Job

from shared.queue import Fleet, keys
from shared.queue.trainings import TrainingQueue
from shared.settings import Settings
from shared.trainings import TRAINING_FUNCTIONS
from worker.resident import ResidentWorker


class Trainer(ResidentWorker):
    """Like a worker for photos, but nothing of one training stays in memory for the next: least of all a GPU's.

    Args:
        connection: a patient connection.
        settings: the settings.
        name: unique.
    """

    def __init__(self, connection: redis.Redis, settings: Settings, name: str) -> None:
        super().__init__(
            connection,
            settings,
            name,
            setup="worker.trainer.job.set_up",
            allowed=TRAINING_FUNCTIONS,
            work=TrainingQueue,
            fleet=Fleet(connection, keys.TRAINERS),
        )

    def execute_job(self, job: Job, queue: Queue) -> None:
        """The worker's; afterwards the process with TensorFlow in it ends."""
        super().execute_job(job, queue)
        self._end_horse()
