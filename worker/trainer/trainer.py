"""A resident worker for trainings: its horse is a new one for each."""

from rq import Queue
from rq.job import Job

from worker.resident import ResidentWorker


class Trainer(ResidentWorker):
    """Like a worker for photos, but nothing of one training stays in memory for the next: least of all a GPU's."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """The worker's; afterwards the process with TensorFlow in it ends."""
        super().execute_job(job, queue)
        self._bury_horse()
