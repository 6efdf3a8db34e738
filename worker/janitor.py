"""Takes away what nobody needs any more: expired results, inputs without a job, what broken uploads and videos left.

    python -m worker.janitor        # once, now; workers do it every JANITOR_INTERVAL seconds, one of them at a time

A job that Redis knows keeps all it has: Redis forgets a finished job after RESULT_TTL, a failed one after
FAILURE_TTL. For the others the age of the objects decides, so a Redis that was emptied costs no result: with a
`result.json` they live for RESULT_TTL, without one they are an orphan after ORPHAN_TTL. What a video has on the way
(`parts/`) goes as soon as its job has ended.
"""

import heapq
import logging
import multiprocessing
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from multiprocessing.context import SpawnProcess
from typing import Final

from shared import logs
from shared.errors import PublicError
from shared.jobs import RESULT_DOCUMENT, parts_prefix, result_key
from shared.queue import JobQueue, connect
from shared.settings import Settings, get_settings
from shared.storage import Stat, Storage, open_storage
from worker.leftovers import sweep_trainings

log = logging.getLogger(__name__)

#: jobs that Redis is asked about at a time
BATCH: Final = 500

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_OWNED: Final = re.compile(r"(?:inputs|results|parts)/([0-9a-f]{32})[./]")


@dataclass(frozen=True, slots=True)
class Swept:
    """What was taken away."""

    expired: int = 0
    orphans: int = 0
    temporary: int = 0
    entries: int = 0
    parts: int = 0


@dataclass(slots=True)
class _Belongings:
    """All objects of one job."""

    job_id: str
    keys: list[str] = field(default_factory=list)
    newest: datetime = _LONG_AGO
    finished: datetime | None = None

    def add(self, stat: Stat) -> None:
        self.keys.append(stat.key)
        self.newest = max(self.newest, stat.modified)
        if stat.key == result_key(self.job_id, RESULT_DOCUMENT):
            self.finished = stat.modified


class Janitor:
    """Sweeps one storage.

    Args:
        storage: where the objects are.
        jobs: who knows the living.
        settings: how long what is kept.
    """

    def __init__(self, storage: Storage, jobs: JobQueue, settings: Settings) -> None:
        self._storage = storage
        self._jobs = jobs
        self._result_ttl = timedelta(seconds=settings.result_ttl)
        self._orphan_ttl = timedelta(seconds=settings.orphan_ttl)

    def sweep(self) -> Swept:
        """Take away what is due now.

        Raises:
            TransientError: Redis or storage is away. Nothing is deleted without the word of both.
        """
        now = datetime.now(UTC)
        due = (item for item in self._belongings() if now >= self._due(item))
        expired = orphans = 0
        while batch := list(islice(due, BATCH)):
            known = self._jobs.known([item.job_id for item in batch])
            for item in batch:
                if item.job_id in known:
                    continue
                self._delete(item)
                expired, orphans = expired + (item.finished is not None), orphans + (item.finished is None)
        orphans += sweep_trainings(self._storage, self._jobs, self._orphan_ttl, now)
        return Swept(expired, orphans, self._storage.sweep_temporary(), self._jobs.forget_gone(), self._sweep_parts())

    def _sweep_parts(self) -> int:
        """Take away the parts of videos that have ended, which a worker left that was killed or came late."""
        ids = (job_id for job_id, _ in groupby(self._owned("parts/"), key=lambda pair: pair[0]))
        count = 0
        while batch := list(islice(ids, BATCH)):
            for job_id in sorted(set(batch) - self._jobs.alive(batch)):
                self._storage.delete_prefix(parts_prefix(job_id))
                count += 1
        return count

    def _belongings(self) -> Iterator[_Belongings]:
        """Job by job: both lists come sorted, so that one pass over them is enough, however many there are."""
        pairs = heapq.merge(self._owned("inputs/"), self._owned("results/"), key=lambda pair: pair[0])
        for job_id, group in groupby(pairs, key=lambda pair: pair[0]):
            item = _Belongings(job_id)
            for _, stat in group:
                item.add(stat)
            yield item

    def _owned(self, prefix: str) -> Iterable[tuple[str, Stat]]:
        for stat in self._storage.list(prefix):
            match = _OWNED.match(stat.key)
            if match is not None:  # whatever else lies there was not put there by us
                yield match[1], stat

    def _due(self, item: _Belongings) -> datetime:
        return item.finished + self._result_ttl if item.finished is not None else item.newest + self._orphan_ttl

    def _delete(self, item: _Belongings) -> None:
        document = result_key(item.job_id, RESULT_DOCUMENT)
        # the document first: it is what makes a job finished, and half a result must not be shown
        for key in sorted(item.keys, key=lambda key: key != document):
            self._storage.delete(key)


def sweep(settings: Settings) -> Swept:
    """Sweep once with connections of its own."""
    with connect(settings.redis_url, patient=False) as connection:
        swept = Janitor(open_storage(settings), JobQueue(connection, settings), settings).sweep()
    log.info(
        "swept: %d expired jobs, %d orphans, parts of %d videos, %d temporary files, %d list entries",
        swept.expired,
        swept.orphans,
        swept.parts,
        swept.temporary,
        swept.entries,
    )
    return swept


class JanitorProcess:
    """Sweeps now and then in a process of its own: a slow storage must not hold up a heartbeat.

    Args:
        jobs: the queue, whose lock lets one worker of all do it.
        settings: the settings.
    """

    def __init__(self, jobs: JobQueue, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings
        self._process: SpawnProcess | None = None

    def tick(self) -> None:
        """Start a sweep if one is due and nobody else does it. Call from the main thread."""
        if self._process is not None:
            if self._process.is_alive():
                return
            self._process.close()
            self._process = None
        if self._jobs.claim_sweep(self._settings.janitor_interval):
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(target=_main, args=(self._settings,), name="janitor", daemon=True)
            self._process.start()

    def end(self) -> None:
        """End a sweep that is under way; the next one goes on where it was."""
        if self._process is not None:
            self._process.terminate()
            self._process.join(5)
            self._process = None


def _main(settings: Settings) -> None:
    logs.configure(settings)
    try:
        sweep(settings)
    except PublicError as error:
        log.warning("nothing is swept now: %s", error)
        sys.exit(1)


if __name__ == "__main__":
    _main(get_settings())
