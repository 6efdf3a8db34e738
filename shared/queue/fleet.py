"""The workers that are alive, and what each can do, as they say themselves."""

from collections.abc import Iterable, Iterator

import redis
from pydantic import BaseModel, ValidationError
from redis.client import Pipeline

from shared.queue import keys
from shared.queue.connection import queue_errors

# What the live workers say, by name; those that have fallen silent are forgotten. KEYS: names of the workers. ARGV:
# what the names of their keys begin with.
_LIST = """
local names = redis.call('SMEMBERS', KEYS[1])
table.sort(names)
local said = {}
for _, name in ipairs(names) do
  local data = redis.call('GET', ARGV[1] .. name)
  if data then table.insert(said, data) else redis.call('SREM', KEYS[1], name) end
end
return said
"""


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
    arithmetic: dict[str, str] = {}
    """of the models in memory, as `shared.results.ModelUsed.arithmetic` has it"""
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
        self._list = connection.register_script(_LIST)

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
        return _parse(self._list(keys=[self._members], args=[keys.worker("")]))

    def ask(self, pipeline: Pipeline) -> None:
        """Ask for them with a pipeline of the caller's."""
        # the text each time: to make sure that Redis has it would be a round trip of its own
        pipeline.eval(_LIST, 1, self._members, keys.worker(""))

    @staticmethod
    def read(replies: Iterator[list[bytes]]) -> list[WorkerInfo]:
        """What the pipeline answered to `ask`, the next of its replies."""
        return _parse(next(replies))


def _parse(said: Iterable[bytes]) -> list[WorkerInfo]:
    workers = []
    for data in said:
        try:
            workers.append(WorkerInfo.model_validate_json(data))
        except ValidationError:
            continue  # a worker of another version, during an upgrade
    return workers
