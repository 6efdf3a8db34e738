"""What trainings have left that nobody can find any more: the janitor takes it away."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby

from shared.queue import JobQueue
from shared.storage import MissingObjectError, Storage
from shared.trainings import (
    DATASETS,
    RESULT_DOCUMENT,
    TRAININGS,
    StoredDataset,
    training_key,
    training_prefix,
)


def sweep_trainings(storage: Storage, jobs: JobQueue, orphan_ttl: timedelta, now: datetime) -> int:
    """Delete trainings that Redis has forgotten and that never finished, and data sets that came only in part.

    Finished trainings, and data sets that are written down, stay until somebody deletes them.

    Args:
        storage: where the objects are.
        jobs: who knows the living.
        orphan_ttl: younger ones stay; they may be about to become something.
        now: aware, UTC.

    Returns:
        How many were deleted.

    Raises:
        TransientError: Redis or storage is away.
    """
    count = 0
    for training_id in _unfinished(storage, now - orphan_ttl):
        if not jobs.known([training_id]):
            storage.delete_prefix(training_prefix(training_id))
            count += 1
    for key in _unlisted(storage, now - orphan_ttl):
        storage.delete(key)
        count += 1
    return count


def _unfinished(storage: Storage, before: datetime) -> Iterator[str]:
    def owner(key: str) -> str:
        return key.removeprefix(TRAININGS).partition("/")[0]

    for training_id, group in groupby(storage.list(TRAININGS), key=lambda stat: owner(stat.key)):
        stats = list(group)
        finished = any(stat.key == training_key(training_id, RESULT_DOCUMENT) for stat in stats)
        if not finished and max(stat.modified for stat in stats) < before:
            yield training_id


def _unlisted(storage: Storage, before: datetime) -> list[str]:
    """Zip files that no document names: the web tier was killed between the two."""
    stats = [stat for stat in storage.list(DATASETS) if "/" not in stat.key.removeprefix(DATASETS)]
    named: set[str] = set()
    for stat in stats:
        if stat.key.endswith(".json"):
            with suppress(MissingObjectError):  # deleted since
                named.add(StoredDataset.model_validate_json(storage.get(stat.key)).key)
    return [
        stat.key for stat in stats if stat.key.endswith(".zip") and stat.key not in named and stat.modified < before
    ]
