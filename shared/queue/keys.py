"""The names of everything of ours in Redis. RQ's own keys (`rq:*`) are named by RQ alone."""

from typing import Final

#: the one RQ queue. One, because a worker that listens on several loses jobs when it is killed (RQ issue 1716).
QUEUE: Final = "dropsight"

#: sorted set of every job Redis knows; score: creation time in seconds
JOBS: Final = "dropsight:jobs"
#: hash of objects seen so far: label -> count
COUNTS: Final = "dropsight:counts"
#: hash of times: "<phase>:ms" and "<phase>:n"
PHASES: Final = "dropsight:phases"
#: set of the names of workers that have announced themselves
WORKERS: Final = "dropsight:workers"

# Fields of ours in RQ's job hash: they live and die with the job, and RQ leaves them alone.
PROGRESS: Final = "ds_progress"
ERROR: Final = "ds_error"
ATTEMPTS: Final = "ds_attempts"
COUNTED: Final = "ds_counted"
CANCEL: Final = "ds_cancel"


def events(job_id: str) -> str:
    """Stream of a job's changes."""
    return f"dropsight:events:{job_id}"


def cached(cache_key: str) -> str:
    """Id of the finished job that answers a cache key."""
    return f"dropsight:cached:{cache_key}"


def worker(name: str) -> str:
    """What a worker says of itself; expires with its lease."""
    return f"dropsight:worker:{name}"
