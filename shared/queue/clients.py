"""Who has how many jobs waiting: one sorted set of job ids a client, looked through only when it seems full."""

from collections.abc import Iterable
from typing import Final

import redis
from rq.job import Job, JobStatus

from shared.queue import keys
from shared.queue.connection import queue_errors, text

#: seconds after which the jobs of a client that sends no more are not counted any longer
KEPT_SECONDS: Final = 24 * 3600

_WAITING: Final = frozenset({JobStatus.QUEUED.value, JobStatus.DEFERRED.value, JobStatus.SCHEDULED.value})


class Clients:
    """Counts the waiting jobs of each client. A client is the name of a key, or an address."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def count(self, client: str, pipeline: "redis.client.Pipeline") -> None:
        """Ask, with a pipeline of the caller's, how many jobs of a client wait; those that ended may count, too."""
        pipeline.zcard(keys.client(client))

    @queue_errors()
    def waiting(self, client: str) -> int:
        """Number of jobs of a client that wait. Looks at each of them, and takes those that ended off the list."""
        key = keys.client(client)
        job_ids = [text(member) for member, _ in self._redis.zscan_iter(key, count=1000)]
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(Job.key_for(job_id), "status")
        done = [
            job_id
            for job_id, status in zip(job_ids, pipe.execute(), strict=True)
            if status is None or text(status) not in _WAITING
        ]
        if done:
            self._redis.zrem(key, *done)
        return len(job_ids) - len(done)

    def add(self, client: str, job_ids: Iterable[str], now: float, pipeline: "redis.client.Pipeline") -> None:
        """Note new jobs of a client, with a pipeline of the caller's."""
        key = keys.client(client)
        pipeline.zadd(key, dict.fromkeys(job_ids, now))
        pipeline.expire(key, KEPT_SECONDS)
