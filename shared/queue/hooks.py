"""Deliveries of webhooks: which job's end is told to whom, and when it is tried (again).

A delivery is made together with its job and waits for the end of it, so whoever ends the job (a worker, a cancel, a
deadline, RQ's own clean-up) can neither forget nor hold it up. Then it is due; whoever tries it leases it first, and a
lease that ran out makes it due again: a process that is killed loses nothing.
"""

import secrets
import time
from collections.abc import Iterable
from typing import Final, NamedTuple, cast

import redis
from rq.job import Job

from shared.queue import keys
from shared.queue.connection import queue_errors, text

#: due at most; beyond, those that wait longest for their next attempt are given up
MOST_DUE: Final = 20_000
#: seconds that a delivery is kept while its job waits, and from the end of the job on
KEPT_WAITING: Final = 40 * 24 * 3600
KEPT_DUE: Final = 48 * 3600
#: jobs looked at in one go
SCAN: Final = 2000

_ENDED: Final = frozenset({None, "finished", "failed", "stopped", "canceled"})

# The job has ended: its delivery is due. KEYS: waiting, due, delivery. ARGV: member, id, now, seconds to keep, most
# that may be due, what the names of deliveries begin with. Returns 2 if another one was given up for it.
_PROMOTE = """
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 or redis.call('EXPIRE', KEYS[3], ARGV[4]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[2])
if redis.call('ZCARD', KEYS[2]) <= tonumber(ARGV[5]) then return 1 end
redis.call('DEL', ARGV[6] .. redis.call('ZPOPMAX', KEYS[2])[1])
return 2
"""

# Lease a delivery, or put it off. KEYS: due. ARGV: id, now, until when.
_LEASE = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) > tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
"""

# What became of an attempt, if the lease was kept. KEYS: due, delivery. ARGV: id, lease, when next (-1: never),
# attempts made.
_SETTLE = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
if tonumber(ARGV[3]) < 0 or redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
  redis.call('HSET', KEYS[2], 'attempts', ARGV[4])
end
return 1
"""


class Delivery(NamedTuple):
    """The end of a job that is to be told."""

    id: str
    job_id: str
    #: empty: the operator's
    url: str
    #: made so far
    attempts: int


class Hooks:
    """Keeps the deliveries. Times in Redis are milliseconds, which scores hold exactly."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection
        self._cursor = 0
        self._promote = connection.register_script(_PROMOTE)
        self._lease = connection.register_script(_LEASE)
        self._settle = connection.register_script(_SETTLE)

    @queue_errors()
    def add(self, job_id: str, url: str, pipeline: "redis.client.Pipeline | None" = None) -> None:
        """Have the end of a job told, or that it has ended; at once or with a pipeline of the caller's."""
        pipe = self._redis.pipeline() if pipeline is None else pipeline
        hook_id = secrets.token_hex(12)
        pipe.hset(keys.hook(hook_id), mapping={"job": job_id, "url": url, "attempts": 0})
        pipe.expire(keys.hook(hook_id), KEPT_WAITING)
        pipe.zadd(keys.HOOKS_WAITING, {f"{hook_id}:{job_id}": _now()})
        if pipeline is None:
            pipe.execute()

    @staticmethod
    def urls(of_job: str | None, of_all: str) -> list[str]:
        """What `add` is to be given for a job: its own URL, if any, and that of the operator, if there is one."""
        return ([of_job] if of_job is not None else []) + ([""] if of_all else [])

    @queue_errors()
    def wait_for(self, job_id: str) -> bool:
        """Whether the end of a job is still to be told."""
        return any(self._redis.zscan_iter(keys.HOOKS_WAITING, match=f"*:{job_id}", count=SCAN))

    @queue_errors()
    def promote(self) -> tuple[int, int]:
        """Make due what waits for jobs that have ended: how many, and how many others were given up for them.

        Looks at a part of what waits if that is much; the next call goes on from there.
        """
        self._cursor, found = self._redis.zscan(keys.HOOKS_WAITING, self._cursor, count=SCAN)
        members = [text(cast(bytes, member)) for member, _ in found]
        pipe = self._redis.pipeline(transaction=False)
        for member in members:
            pipe.hget(Job.key_for(member.partition(":")[2]), "status")
        statuses = [None if status is None else text(status) for status in pipe.execute()]
        promoted = dropped = 0
        for member, status in zip(members, statuses, strict=True):
            if status not in _ENDED:
                continue
            hook_id = member.partition(":")[0]
            done = self._promote(
                keys=[keys.HOOKS_WAITING, keys.HOOKS_DUE, keys.hook(hook_id)],
                args=[member, hook_id, _now(), KEPT_DUE, MOST_DUE, keys.hook("")],
            )
            promoted, dropped = promoted + (done > 0), dropped + (done == 2)
        return promoted, dropped

    @queue_errors()
    def due(self, most: int) -> list[Delivery]:
        """What may be tried now, the longest due first."""
        found: list[bytes] = self._redis.zrangebyscore(  # type: ignore[assignment]
            keys.HOOKS_DUE, "-inf", _now(), start=0, num=most
        )
        ids = [text(hook_id) for hook_id in found]
        pipe = self._redis.pipeline(transaction=False)
        for hook_id in ids:
            pipe.hmget(keys.hook(hook_id), "job", "url", "attempts")
        deliveries = []
        for hook_id, (job_id, url, attempts) in zip(ids, pipe.execute(), strict=True):
            if job_id is None:  # kept for longer than it may be
                self._redis.zrem(keys.HOOKS_DUE, hook_id)
            else:
                deliveries.append(Delivery(hook_id, text(job_id), text(url or b""), int(attempts or 0)))
        return deliveries

    @queue_errors()
    def lease(self, hook_id: str, seconds: float) -> int | None:
        """Take a delivery for so long, if it is due still. The lease, to settle with; None if another has it."""
        now = _now()
        until = now + int(seconds * 1000)
        return until if self._lease(keys=[keys.HOOKS_DUE], args=[hook_id, now, until]) else None

    @queue_errors()
    def put_off(self, puts: Iterable[tuple[str, float]]) -> None:
        """Have each of these tried so many seconds later, if they are due still."""
        now = _now()
        pipe = self._redis.pipeline(transaction=False)
        for hook_id, seconds in puts:
            self._lease(keys=[keys.HOOKS_DUE], args=[hook_id, now, now + int(seconds * 1000)], client=pipe)
        pipe.execute()

    @queue_errors()
    def settle(self, hook_id: str, lease: int, *, attempts: int, seconds: float | None) -> bool:
        """Say what became of it: done with (`seconds` is None), or to be tried again. False: the lease was lost."""
        when = -1 if seconds is None else _now() + int(seconds * 1000)
        return bool(self._settle(keys=[keys.HOOKS_DUE, keys.hook(hook_id)], args=[hook_id, lease, when, attempts]))

    @queue_errors()
    def counts(self) -> tuple[int, int]:
        """How many wait for the end of their job, and how many for an attempt."""
        return int(self._redis.zcard(keys.HOOKS_WAITING)), int(self._redis.zcard(keys.HOOKS_DUE))

    @queue_errors()
    def beat(self, name: str, seconds: int) -> None:
        """Say that the loop of this name lives."""
        self._redis.set(keys.hook_loop(name), 1, ex=seconds)

    @queue_errors()
    def is_alive(self, name: str) -> bool:
        """Whether the loop of this name has said so lately."""
        return bool(self._redis.exists(keys.hook_loop(name)))


def _now() -> int:
    return time.time_ns() // 1_000_000
