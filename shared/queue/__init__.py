"""The one place that talks to Redis and RQ: enqueue, look up, cancel, events, workers, tallies.

`connection` says how Redis is reached, `keys` how everything of ours in it is called. Redis holds ids, storage
keys and options, JSON only; never pixels.
"""

from shared.queue.connection import connect, is_refused, queue_errors
from shared.queue.events import Events
from shared.queue.fleet import Fleet, WorkerInfo
from shared.queue.hooks import Delivery, Hooks
from shared.queue.jobs import JobQueue
from shared.queue.lanes import Lane, Lanes
from shared.queue.parts import PartOrder, PartProgress, Parts, PartsPendingError
from shared.queue.records import CacheEntry, CancelOutcome, JobPage, JobRecord, Submitted
from shared.queue.tally import Tally

__all__ = [
    "CacheEntry",
    "CancelOutcome",
    "Delivery",
    "Events",
    "Fleet",
    "Hooks",
    "JobPage",
    "JobQueue",
    "JobRecord",
    "Lane",
    "Lanes",
    "PartOrder",
    "PartProgress",
    "Parts",
    "PartsPendingError",
    "Submitted",
    "Tally",
    "WorkerInfo",
    "connect",
    "is_refused",
    "queue_errors",
]
