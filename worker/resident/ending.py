"""What a horse leaves to its parent: the end of a job, so that the next one need not wait for a disk or for Redis.

A job function that returns an `Ending` has done all that its file may break. What remains, to store it and to tell of
it, concerns our own parts alone: the parent does it beside its horse's next job (`closer`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import redis
from redis.client import Pipeline
from rq.job import Job

from shared.settings import Settings


@dataclass(frozen=True, slots=True, repr=False)  # RQ writes it into a line of the log that nobody reads
class Ending:
    """What was made of a job.

    Attributes:
        document: the result document, JSON, as far as it is known.
        files: name and content of what else belongs to the result.
        made_at: when, by `time.monotonic`, which all processes of a machine share.
    """

    document: bytes
    files: list[tuple[str, bytes]]
    made_at: float

    @property
    def size(self) -> int:
        """Bytes of all."""
        return len(self.document) + sum(len(data) for _, data in self.files)


#: puts what is remembered of a job besides into the pipeline that ends it
Record = Callable[[Pipeline], None]


class Endings(Protocol):
    """How the jobs of a queue end."""

    def store(self, job: Job, ending: Ending) -> Record:
        """Keep what was made; may be done twice.

        Raises:
            TransientError: storage is away; worth trying again later.
            PublicError: "storage_full".
        """

    def discard(self, job: Job) -> None:
        """Delete what was stored of a job that was deleted or canceled meanwhile."""


class OpenEndings(Protocol):
    """Opens them; done when the first job ends so."""

    def __call__(self, connection: redis.Redis, settings: Settings, /) -> Endings:
        """`connection` is a patient one."""
