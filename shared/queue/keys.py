"""The names of everything of ours in Redis. RQ's own keys (`rq:*`) are named by RQ alone."""

from typing import Final

#: the RQ queue of jobs that somebody waits for
QUEUE: Final = "dropsight"
#: the RQ queue of jobs that may wait. `lanes` says how all are listened on without loss.
BULK: Final = "dropsight-bulk"
#: the RQ queue of the parts of videos
PARTS: Final = "dropsight-parts"
#: the RQ queue of trainings, which only trainers listen on
TRAINING: Final = "dropsight-training"
#: the RQ queue of live streams, which only streamers listen on
STREAM: Final = "dropsight-streams"
#: stream of one entry that is renewed with every job pushed
BELL: Final = "dropsight:bell"
#: counts the jobs that were begun while others waited in other queues
TURN: Final = "dropsight:turn"
#: sorted set of jobs with a deadline; score: when it is
DEADLINES: Final = "dropsight:deadlines"

#: sorted set of every job Redis knows; score: creation time in seconds
JOBS: Final = "dropsight:jobs"
#: hash of objects seen so far: label -> count
COUNTS: Final = "dropsight:counts"
#: hash of times: "<phase>:ms" and "<phase>:n"
PHASES: Final = "dropsight:phases"
#: held by the worker that runs the janitor; its expiry is when the next may
JANITOR: Final = "dropsight:janitor"
#: sorted set of "<delivery>:<job>" of webhooks whose job has not ended yet; score: since when
HOOKS_WAITING: Final = "dropsight:hooks:waiting"
#: sorted set of deliveries of webhooks; score: when they are tried next, in milliseconds
HOOKS_DUE: Final = "dropsight:hooks:due"
#: set of the names of workers that have announced themselves
WORKERS: Final = "dropsight:workers"
#: the same of trainers
TRAINERS: Final = "dropsight:trainers"
#: sorted set of every training Redis knows; score: creation time in seconds
TRAININGS: Final = "dropsight:trainings"
#: a word that changes when a model was trained or deleted
MODELS: Final = "dropsight:models"
#: the same of streamers
STREAMERS: Final = "dropsight:streamers"
#: sorted set of every live stream Redis knows; score: creation time in seconds
STREAMS: Final = "dropsight:streams"


def jobs(owner: str | None) -> str:
    """Sorted set of the jobs of an API key; without one, of all."""
    return JOBS if owner is None else f"{JOBS}:{owner}"


def counts(owner: str) -> str:
    """Hash of objects seen so far in the jobs of an API key."""
    return f"{COUNTS}:{owner}"


def client(name: str) -> str:
    """Sorted set of the jobs of a client that may be waiting; score: when they came."""
    return f"dropsight:client:{name}"


def hook(hook_id: str) -> str:
    """A delivery of a webhook."""
    return f"dropsight:hook:{hook_id}"


def hook_loop(name: str) -> str:
    """Says that a loop that delivers webhooks lives."""
    return f"dropsight:hooks:loop:{name}"


# Fields of ours in RQ's job hash: they live and die with the job, and RQ leaves them alone.
PROGRESS: Final = "ds_progress"
ERROR: Final = "ds_error"
ATTEMPTS: Final = "ds_attempts"
COUNTED: Final = "ds_counted"
CANCEL: Final = "ds_cancel"
TAKEN: Final = "ds_taken"
"""the last taking off a queue that several orders may come of: only that one's counts"""
BEGAN: Final = "ds_began"
"""when a job that waits for its parts was begun: from then on it is running for everybody"""
# of a live stream: the attempt that has it, and that it shall end
HOLDER: Final = "ds_holder"
STOP: Final = "ds_stop"


def events(job_id: str) -> str:
    """Stream of a job's changes."""
    return f"dropsight:events:{job_id}"


def parts(job_id: str) -> str:
    """Hash of how far the parts of a video are."""
    return f"dropsight:parts:{job_id}"


def live(job_id: str) -> str:
    """Says that a video has a live picture that is new enough."""
    return f"dropsight:live:{job_id}"


def deleted(job_id: str) -> str:
    """Says that a job was deleted, to a worker that may still have it."""
    return f"dropsight:deleted:{job_id}"


def cached(cache_key: str) -> str:
    """Id of the finished job that answers a cache key, and the arithmetic that it was computed in."""
    return f"dropsight:cached:{cache_key}"


def worker(name: str) -> str:
    """What a worker says of itself; expires with its lease."""
    return f"dropsight:worker:{name}"


def stream_url(stream_id: str) -> str:
    """The URL of a live stream with its password, until it ends."""
    return f"dropsight:stream-url:{stream_id}"


def stream_frame(stream_id: str) -> str:
    """Number of the newest frame of a live stream."""
    return f"dropsight:stream-frame:{stream_id}"


def stream_watched(stream_id: str) -> str:
    """Says that somebody looks at the frames of a live stream."""
    return f"dropsight:stream-watched:{stream_id}"
