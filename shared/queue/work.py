"""What a resident worker asks of the queue it works on, and a queue that stands alone: no lanes, no bell."""

import math
from typing import Protocol, cast
from uuid import uuid4

import redis
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.queue.connection import text
from shared.queue.events import Events
from shared.queue.lanes import Lane, Taken
from shared.queue.parts import Parts


class WorkLanes(Protocol):
    """The RQ queues that belong together."""

    @property
    def all(self) -> tuple[Lane, ...]:
        """All that its workers take from."""

    def named(self, origin: str) -> Lane:
        """The queue that a job says it came from."""

    def take(self, seconds: float) -> Taken | None:
        """Move the next job into its queue's intermediate queue; waits for one for so long."""

    def take_ahead(self) -> Taken | None:
        """The same for a worker that is still busy: only if no other worker will miss the job."""


class Work(Protocol):
    """Jobs of one kind, as a worker needs them. `JobQueue` is one, `TrainingQueue` another."""

    @property
    def events(self) -> Events:
        """News of its jobs."""

    @property
    def lanes(self) -> WorkLanes:
        """Where they wait."""

    @property
    def parts(self) -> Parts:
        """Jobs that are parts of others."""

    def mark_canceled(self, job: Job) -> None:
        """Give a job that does not run its end as canceled."""

    def was_deleted(self, job_id: str) -> bool:
        """Whether somebody deleted the job while a worker had it: nothing of it may stay behind."""

    def bury(self, job_id: str) -> None:
        """Delete what the end of its run left of a job that was deleted meanwhile."""

    def expire_due(self) -> int:
        """Fail the waiting jobs whose deadline has passed; returns how many."""

    def forget_expired(self, longest_ttl: int) -> None:
        """Take the ids of jobs that Redis must have forgotten by now off the list."""


class SoloLane:
    """One RQ queue for workers that take from no other.

    Args:
        connection: to Redis.
        name: of the RQ queue.
    """

    def __init__(self, connection: redis.Redis, name: str) -> None:
        self._redis = connection
        self.lane = Lane(name, connection=connection, serializer=JSONSerializer)

    @property
    def all(self) -> tuple[Lane, ...]:
        """The one there is."""
        return (self.lane,)

    def named(self, origin: str) -> Lane:  # noqa: ARG002
        """The one there is."""
        return self.lane

    def waiting(self) -> int:
        """Number of jobs that wait for a worker."""
        return int(self._redis.llen(self.lane.key))

    def take(self, seconds: float) -> Taken | None:
        """The next job; waits for one for so long."""
        names = (self.lane.key, self.lane.intermediate_queue_key)
        found = self._redis.lmove(*names, "LEFT", "RIGHT")
        if found is None and seconds > 0:
            found = self._redis.blmove(*names, math.ceil(seconds), "LEFT", "RIGHT")
        if found is None:
            return None
        job_id = text(found)
        fields = cast("dict[bytes, bytes]", self._redis.hgetall(Job.key_for(job_id)))
        return Taken(job_id, self.lane, fields, uuid4().hex, contended=False)

    def take_ahead(self) -> Taken | None:
        """None: what is done here takes long."""
        return None
