"""How many jobs may wait, in all and of one client."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import redis
from redis.client import Pipeline

from shared.errors import BadInputError, PublicError
from shared.queue import keys
from shared.queue.clients import Clients
from shared.queue.lanes import Lanes
from shared.settings import Settings

# Do what a pipeline has if there is room for it, and nothing is known that makes it needless: in one step, so that no
# two senders fill the same room. KEYS: both lanes, both registries of jobs that wait for their parts, the jobs of the
# client, keys that must not exist. ARGV: jobs, limit of all, limit of the client (-1: there is none), then of each
# command the number of its words and the words. 0: something is known; numbers of jobs that wait: there is no room;
# else the answers to the commands, as a list in a list.
_ADMIT: Final = """
for i = 6, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
local more, most = tonumber(ARGV[1]), tonumber(ARGV[3])
local all = redis.call('LLEN', KEYS[1]) + redis.call('LLEN', KEYS[2])
all = all + redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4])
local mine = redis.call('ZCARD', KEYS[5])
if all + more > tonumber(ARGV[2]) or (most >= 0 and mine + more > most) then return {all, mine} end
local said, at = {}, 4
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  table.insert(said, redis.call(unpack(ARGV, at + 1, last)))
  at = last + 1
end
return {said}
"""


class Waiting(NamedTuple):
    """How many jobs wait."""

    all: int
    """of everybody, also those that were begun and wait for their parts"""
    mine: int
    """of the client that was asked about; those that have ended since may count, too"""


class Room:
    """Says whether there is room for more jobs, and lets them in."""

    def __init__(self, connection: redis.Redis, lanes: Lanes, settings: Settings) -> None:
        self._redis = connection
        self.clients = Clients(connection)
        self._lanes = lanes
        self._settings = settings

    def ask(self, client: str | None, pipeline: Pipeline) -> None:
        """Ask how many wait, with a pipeline of the caller's."""
        for lane in self._lanes:
            pipeline.llen(lane.key)
            pipeline.zcard(lane.deferred_job_registry.key)
        if client is not None:
            self.clients.count(client, pipeline)

    def read(self, client: str | None, replies: Iterator[int]) -> Waiting:
        """What the pipeline answered to `ask`, from the next of its replies on."""
        lanes = sum(next(replies) + next(replies) for _ in self._lanes)
        return Waiting(lanes, 0 if client is None else next(replies))

    def admit(self, pipeline: Pipeline, more: int, client: str | None, unless: Iterable[str] = ()) -> list[Any] | None:
        """Do what a pipeline has, all of it or nothing, if there is room for so many more jobs.

        Args:
            pipeline: is not executed.
            more: jobs that it makes.
            client: who brings them, if they are to count against a client's own limit.
            unless: if one of these keys is there, nothing is done.

        Returns:
            The replies to its commands; None if one of the keys is there.

        Raises:
            PublicError, BadInputError: as `check`.
        """
        asked = self._words(pipeline, more, client, unless)
        while True:
            # the text each time: to make sure that Redis has it would be a round trip
            said = self._redis.eval(_ADMIT, *asked)
            if said == 0:
                return None
            if isinstance(said[0], list):
                return said[0]
            self.check(more, client, Waiting(*said))  # may find that jobs of the client have ended: then again

    def ask_to_admit(self, work: Pipeline, more: int, client: str | None, pipeline: Pipeline) -> None:
        """The same as a command of another pipeline. Without a client there is always room.

        Its reply: those to the commands, as a list in a list; if there is no room, how many wait.
        """
        pipeline.eval(_ADMIT, *self._words(work, more, client, (), always=client is None))

    def _words(
        self, pipeline: Pipeline, more: int, client: str | None, unless: Iterable[str], *, always: bool = False
    ) -> list[Any]:
        names = [lane.key for lane in self._lanes] + [lane.deferred_job_registry.key for lane in self._lanes]
        names += [keys.client(client or ""), *unless]
        most = -1 if client is None else self._settings.max_queue_per_client
        words: list[Any] = [more, sys.maxsize if always else self._settings.max_queue, most]
        for command, _ in pipeline.command_stack:
            words += [len(command), *command]
        return [len(names), *names, *words]

    def check(self, more: int, client: str | None, waiting: Waiting) -> None:
        """Raises `PublicError("queue_full")`, or `BadInputError("too_large")` for more than would ever fit."""
        limit = self._settings.max_queue
        _check_ever_possible(more, limit, "MAX_QUEUE")
        if waiting.all + more > limit:
            raise PublicError(
                "queue_full",
                f"{waiting.all} jobs are waiting already. Try again in a while.",
                retry_after=_retry_after(waiting.all),
            )
        if client is not None:
            self._check_client(client, more, waiting.mine)

    def _check_client(self, client: str, more: int, count: int) -> None:
        limit = self._settings.max_queue_per_client
        _check_ever_possible(more, limit, "MAX_QUEUE_PER_CLIENT")
        if count + more <= limit:
            return
        mine = self.clients.waiting(client)
        if mine + more > limit:
            raise PublicError(
                "queue_full",
                f"{mine} jobs of yours are waiting already, and {limit} may. Try again in a while.",
                retry_after=_retry_after(mine),
            )


def _retry_after(waiting: int) -> int:
    return max(1, min(60, waiting // 10))


def _check_ever_possible(more: int, limit: int, setting: str) -> None:
    """Raises `BadInputError("too_large")` for what would not fit into an empty queue: to try again is no help."""
    if more > limit:
        raise BadInputError(
            "too_large",
            f"This would make {more} jobs, and {limit} may wait here at most ({setting}). Send them in parts.",
        )
