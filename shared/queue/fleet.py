"""The workers that are alive, and what each can do, as they say themselves."""

import redis
from pydantic import BaseModel, ValidationError

from shared.queue import keys
from shared.queue.connection import queue_errors, text


class WorkerInfo(BaseModel):
    """What a worker says of itself with every heartbeat."""

    name: str
    host: str
    pid: int
    state: str
    installed: list[str]
    ready: bool
    engine: str
    started_at: float
    # what older workers do not say
    models: list[str] = []
    """in memory, the one used last at the end"""
    memory_bytes: int = 0
    """of the process with the models; 0 where the system does not say"""
    jobs_done: int = 0
    restarts: int = 0
    """of the process with the models, since the worker was started"""


class Fleet:
    """Announces one worker, lists all.

    Args:
        connection: to Redis.
        members: key of the set of their names; workers of another kind have another one.
    """

    def __init__(self, connection: redis.Redis, members: str = keys.WORKERS) -> None:
        self._redis = connection
        self._members = members

    def announce(self, info: WorkerInfo, ttl: int) -> None:
        """Say that a worker is alive for the next `ttl` seconds."""
        pipe = self._redis.pipeline()
        pipe.set(keys.worker(info.name), info.model_dump_json(), ex=ttl)
        pipe.sadd(self._members, info.name)
        pipe.execute()

    def leave(self, name: str) -> None:
        """Say that a worker has ended."""
        pipe = self._redis.pipeline()
        pipe.delete(keys.worker(name))
        pipe.srem(self._members, name)
        pipe.execute()

    @queue_errors()
    def workers(self) -> list[WorkerInfo]:
        """The live workers, by name."""
        names = sorted(text(name) for name in self._redis.smembers(self._members))
        if not names:
            return []
        found = self._redis.mget([keys.worker(name) for name in names])
        gone = [name for name, data in zip(names, found, strict=True) if data is None]
        if gone:
            self._redis.srem(self._members, *gone)
        workers = []
        for data in found:
            if data is None:
                continue
            try:
                workers.append(WorkerInfo.model_validate_json(data))
            except ValidationError:
                continue  # a worker of another version, during an upgrade
        return workers
