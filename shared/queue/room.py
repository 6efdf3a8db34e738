"""How many jobs may wait, in all and of one client."""

from collections.abc import Iterator
from typing import NamedTuple

import redis
from redis.client import Pipeline

from shared.errors import BadInputError, PublicError
from shared.queue.clients import Clients
from shared.queue.lanes import Lanes
from shared.settings import Settings


class Waiting(NamedTuple):
    """How many jobs wait."""

    all: int
    """of everybody, also those that were begun and wait for their parts"""
    mine: int
    """of the client that was asked about; those that have ended since may count, too"""


class Room:
    """Says whether there is room for more jobs. Asks as a part of a pipeline, so that it costs no round trip."""

    def __init__(self, connection: redis.Redis, lanes: Lanes, settings: Settings) -> None:
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
