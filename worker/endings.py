"""How the job of a photo ends: its files go to storage, the document last, and what is remembered of it to Redis.

The parent of a worker does it, while its horse looks at the next photo. `result.json` in storage is what makes a job
finished, also when Redis has forgotten it.
"""

import logging
import time
from datetime import UTC, datetime

import redis
from redis.client import Pipeline
from rq.job import Job

from shared.jobs import RESULT_DOCUMENT, JobRequest, result_key, result_prefix
from shared.queue import JobQueue, Tally
from shared.results import ImageResult
from shared.settings import Settings
from shared.storage import open_storage
from worker.resident.ending import Ending, Record

log = logging.getLogger(__name__)


class PhotoEndings:
    """They are `worker.resident.ending.Endings`.

    Args:
        connection: a patient connection.
        settings: the settings.
    """

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        self._storage = open_storage(settings)
        self._jobs = JobQueue(connection, settings)
        self._tally = Tally(connection)

    def store(self, job: Job, ending: Ending) -> Record:
        """As `Endings`; the time it takes is the phase "store"."""
        request = JobRequest.model_validate(job.kwargs["request"])
        begin = time.monotonic()
        self._storage.put_many([(result_key(request.id, name), data) for name, data in ending.files])
        result = _completed(ImageResult.from_json(ending.document), ending.made_at, begin)
        self._storage.put(result_key(request.id, RESULT_DOCUMENT), result.to_json())
        log.info(
            "job %s: %s on %s, %.0f ms: %s",
            request.id,
            request.model,
            result.source.format,
            result.timings_ms["total"],
            result.text,
        )

        def record(pipe: Pipeline) -> None:
            self._tally.record(job.key, result.counts, result.timings_ms, request.owner, pipe)
            self._jobs.remember_cached(request.cache_key, request.id, result.model.arithmetic, pipe)

        return record

    def discard(self, job: Job) -> None:
        """As `Endings`."""
        self._storage.delete_prefix(result_prefix(job.id))


def _completed(result: ImageResult, made_at: float, begin: float) -> ImageResult:
    """The document with the times of its end."""
    now = time.monotonic()
    timings = result.timings_ms | {
        "store": round((now - begin) * 1000, 3),
        "total": round(result.timings_ms["total"] + (now - made_at) * 1000, 3),
    }
    timings["total"] = timings.pop("total")  # last, as ever
    return result.model_copy(update={"finished_at": datetime.now(UTC), "timings_ms": timings})
