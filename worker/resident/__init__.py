"""The RQ worker with its resident horse: everything that bends RQ, and nothing else.

RQ's own worker forks a work horse a job; a model would be loaded again in every fork, and neither TensorFlow nor
CUDA survives one. Here the horse is spawned once, loads its models, and is fed job ids over a pipe. All the
bookkeeping (registries, retries, heartbeats, results) stays RQ's.

`fenced` is what parent and horse have in common: who may run a job, and who may say how it ended. `horse` is the
child process, `worker` the parent, `process` the child as the parent sees it. A function that returns an
`ending.Ending` leaves the end of its job to the parent, whose `closer` sees to it while the horse is at the next job.
"""

from worker.resident.worker import ResidentWorker

__all__ = ["ResidentWorker"]
