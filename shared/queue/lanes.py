"""The queues: what somebody waits for, parts of videos, and what may wait. A worker takes from all and loses from none.

RQ's own way to listen on several queues (BLPOP) loses a job whose worker is killed before it has started it (RQ issue
1716). Here one script looks at all and moves a job into the intermediate queue of its own lane, from where it is
recovered. A worker that finds nothing waits for the bell: a stream of one entry that every push rings.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, cast
from uuid import uuid4

import redis
from redis.client import Pipeline
from rq import Queue
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker.base import BaseWorker

from shared.jobs import Priority
from shared.queue import keys
from shared.queue.connection import text

#: where interactive jobs wait and others, too, one of so many is another: those are never starved. Parts of videos
#: and bulk jobs take turns.
BULK_SHARE: Final = 5

# KEYS: of the lanes interactive, parts and bulk each the queue and its intermediate queue; turn, bell, workers. ARGV:
# share, what the names of jobs begin with, who takes, the field for that, 1 if only one of so many is wanted that there
# is one for each worker. {number of the lane's queue, job id, fields of the job and their values, number of lanes where
# jobs waited}, or the bell's newest entry when there is none. The turn is counted when the job is begun; until then the
# job, which lies in an intermediate queue, is counted itself.
_TAKE = """
local busy, waiting, taken = 0, 0, 0
for lane = 1, 5, 2 do
  taken = taken + redis.call('LLEN', KEYS[lane + 1])
  local length = redis.call('LLEN', KEYS[lane])
  waiting = waiting + length
  if length > 0 then busy = busy + 1 end
end
if ARGV[5] == '1' and waiting < redis.call('SCARD', KEYS[9]) then return '' end
local order = {1, 3, 5}
if busy > 1 then
  local turn = tonumber(redis.call('GET', KEYS[7]) or 0) + taken + 1
  if turn % 2 == 0 then order = {1, 5, 3} end
  if turn % tonumber(ARGV[1]) == 0 then order = {order[2], order[3], 1} end
end
for _, lane in ipairs(order) do
  local id = redis.call('LMOVE', KEYS[lane], KEYS[lane + 1], 'LEFT', 'RIGHT')
  if id then
    local fields = redis.call('HGETALL', ARGV[2] .. id)
    if #fields > 0 then redis.call('HSET', ARGV[2] .. id, ARGV[4], ARGV[3]) end
    return {lane, id, fields, busy}
  end
end
local rung = redis.call('XREVRANGE', KEYS[8], '+', '-', 'COUNT', 1)
return rung[1] and rung[1][1] or '0-0'
"""


class _Between(IntermediateQueue):
    """Where a job lies from the dequeue to its start. What is left there is put back by `FencedWorker`."""

    def cleanup(self, worker: BaseWorker, queue: Queue) -> None:
        """Nothing: RQ's would give up jobs that others are about to begin."""


class Lane(Queue):
    """An RQ queue that wakes the workers."""

    @property
    def intermediate_queue(self) -> IntermediateQueue:
        """RQ's, which nobody but us cleans."""
        return _Between(self.key, connection=self.connection)

    def push_job_id(self, job_id: str, pipeline: Pipeline | None = None, at_front: bool = False) -> None:
        """RQ's, and ring."""
        pipe = self.connection.pipeline() if pipeline is None else pipeline
        super().push_job_id(job_id, pipe, at_front)
        pipe.xadd(keys.BELL, {"n": 1}, maxlen=1, approximate=False)
        if pipeline is None:
            pipe.execute()


class Taken(NamedTuple):
    """A job that lies in its lane's intermediate queue until it is claimed."""

    job_id: str
    lane: Lane
    #: the job's hash; empty if it was deleted while it waited
    fields: dict[bytes, bytes]
    #: of this taking: who was given it may begin the job, and nobody who has been given it before and lost it
    token: str
    #: whether jobs of several lanes waited: to begin it is a turn of its lane
    contended: bool


class Lanes:
    """The lanes. To go over them is to go over those of jobs, the one of higher priority first, without the parts'."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self.interactive = Lane(keys.QUEUE, connection=connection, serializer=JSONSerializer)
        self.parts = Lane(keys.PARTS, connection=connection, serializer=JSONSerializer)
        self.bulk = Lane(keys.BULK, connection=connection, serializer=JSONSerializer)
        self._take = connection.register_script(_TAKE)

    def __iter__(self) -> Iterator[Lane]:
        return iter((self.interactive, self.bulk))

    @property
    def all(self) -> tuple[Lane, ...]:
        """All that workers take from."""
        return self.interactive, self.parts, self.bulk

    def of(self, priority: Priority) -> Lane:
        """The lane for jobs of that priority."""
        return self.bulk if priority is Priority.BULK else self.interactive

    def named(self, origin: str) -> Lane:
        """The lane that a job says it came from."""
        return {keys.BULK: self.bulk, keys.PARTS: self.parts}.get(origin, self.interactive)

    def waiting(self) -> tuple[int, int]:
        """Numbers of interactive and bulk jobs that wait for a worker."""
        pipe = self._redis.pipeline(transaction=False)
        for lane in self:
            pipe.llen(lane.key)
        interactive, bulk = pipe.execute()
        return interactive, bulk

    def parked(self) -> int:
        """Number of jobs that have been begun and wait for their parts."""
        pipe = self._redis.pipeline(transaction=False)
        for lane in self:
            pipe.zcard(lane.deferred_job_registry.key)
        return sum(pipe.execute())

    def take(self, seconds: float) -> Taken | None:
        """The next job; waits for one for so long.

        A bell that rings for another worker's job ends the wait, too.
        """
        for attempt in range(2):
            found = self._look(ahead=False)
            if isinstance(found, Taken):
                return found
            if attempt == 0 and seconds > 0:
                self._redis.xread({keys.BELL: found}, block=max(1, int(seconds * 1000)))
        return None

    def take_ahead(self) -> Taken | None:
        """The next job, if so many wait that no other worker will miss it."""
        found = self._look(ahead=True)
        return found if isinstance(found, Taken) else None

    def _look(self, *, ahead: bool) -> Taken | bytes:
        """The next job, or the bell's newest entry."""
        lanes = self.all
        names = [key for lane in lanes for key in (lane.key, lane.intermediate_queue_key)]
        token = uuid4().hex
        found = self._take(
            keys=[*names, keys.TURN, keys.BELL, keys.WORKERS],
            args=[BULK_SHARE, Job.redis_job_namespace_prefix, token, keys.TAKEN, int(ahead)],
        )
        if not isinstance(found, list):
            return cast(bytes, found)
        number, job_id, fields, busy = found
        lane = lanes[int(number) // 2]
        return Taken(text(job_id), lane, dict(zip(fields[::2], fields[1::2], strict=True)), token, int(busy) > 1)


def place(priority: Priority, index: int, interactive: int, bulk: int) -> int:
    """Which number a waiting job is, 1 for the next, if nobody else comes.

    Args:
        priority: its lane.
        index: its place in the lane, from 0.
        interactive: number of interactive jobs that wait.
        bulk: number of bulk jobs that wait.
    """
    between = BULK_SHARE - 1
    if priority is Priority.BULK:
        return index + 1 + min(interactive, between * (index + 1))
    return index + 1 + min(bulk, index // between)
