"""News of jobs: one short Redis stream a job. A reader that comes back with the last id it saw misses nothing.

An entry says only that something changed; the reader then looks at the job itself, so news can be trimmed, come
twice or be missed without anybody seeing a wrong state.
"""

from collections.abc import Mapping
from typing import Any, Final

import redis
from redis.client import Pipeline

from shared.queue import keys
from shared.queue.connection import queue_errors, text

KEPT_ENTRIES: Final = 32
KEPT_SECONDS: Final = 3600
#: after the last news of a job: a stream takes 4 KB, more than all else of a finished job together
KEPT_AFTER_END: Final = 60
START: Final = "0-0"


class Events:
    """Publishes and awaits changes of jobs."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis = connection

    def publish(self, job_id: str, pipeline: "Pipeline | None" = None, *, last: bool = False) -> None:
        """Say that a job has changed, at once or with a pipeline of the caller's; `last`: it will not again."""
        pipe = self._redis.pipeline(transaction=False) if pipeline is None else pipeline
        pipe.xadd(keys.events(job_id), {"n": 1}, maxlen=KEPT_ENTRIES, approximate=True)
        pipe.expire(keys.events(job_id), KEPT_AFTER_END if last else KEPT_SECONDS)
        if pipeline is None:
            pipe.execute()

    @queue_errors()
    def last(self, job_ids: list[str]) -> dict[str, str]:
        """The newest entry of each job, to wait from there."""
        pipe = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.xrevrange(keys.events(job_id), count=1)
        found = pipe.execute()
        return {
            job_id: text(entries[0][0]) if entries else START for job_id, entries in zip(job_ids, found, strict=True)
        }

    @queue_errors()
    def wait(self, seen: Mapping[str, str], timeout: float) -> dict[str, str]:
        """Wait until one of the jobs changes.

        Args:
            seen: job id -> the last entry that was seen.
            timeout: seconds, at most 4 (the connection's own limit is 5).

        Returns:
            job id -> newest entry, for those that changed; empty after the timeout.
        """
        return self.read(self.ask(seen, timeout, self._redis))

    @staticmethod
    def ask(seen: Mapping[str, str], timeout: float, on: "redis.Redis | Pipeline") -> Any:  # noqa: ANN401
        """`wait`, as a part of a pipeline of the caller's; its reply is for `read`."""
        streams: dict[bytes | str | memoryview, int | bytes | str | memoryview] = {
            keys.events(job_id): last for job_id, last in seen.items()
        }
        return on.xread(streams, block=max(1, int(min(timeout, 4.0) * 1000)))

    @staticmethod
    def read(reply: Any) -> dict[str, str]:  # noqa: ANN401
        """What `wait` returns, of a reply to `ask`."""
        items = reply.items() if isinstance(reply, dict) else reply or ()
        return {text(name).removeprefix(keys.events("")): _newest(entries) for name, entries in items}


def _newest(entries: list) -> str:  # type: ignore[type-arg]
    # RESP3 wraps a stream's entries in one more list than RESP2
    while entries and isinstance(entries[-1], list) and not isinstance(entries[-1][0], bytes | str):
        entries = entries[-1]
    return text(entries[-1][0])
