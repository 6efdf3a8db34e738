"""The job function: fetch, decode, preprocess, inference, postprocess, draw, store; each a named, timed phase.

It runs in the resident horse. What it needs is made once by `set_up`; what it does for a job may be done twice
and gives the same objects, and `result.json`, written last, is what makes the job finished.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rq.job import Job

from shared.catalog import CatalogReader
from shared.errors import BadInputError, PublicError
from shared.jobs import PHASES, JobRequest, Phase, result_key, result_prefix
from shared.queue import JobQueue, Tally, connect
from shared.results import ImageResult, Source
from shared.settings import Settings
from shared.storage import MissingObjectError, Storage, open_storage
from worker.findings import draw, explain, findings_of
from worker.images import DecodedImage, decode_image
from worker.models.registry import ModelCache

log = logging.getLogger(__name__)

#: milliseconds between two reports of progress: a photo that is done sooner reports none
REPORT_INTERVAL_MS: Final = 200.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What every job of this process uses."""

    settings: Settings
    storage: Storage
    models: ModelCache
    jobs: JobQueue
    tally: Tally
    about: dict[str, Any]
    """what the worker announces of itself"""


_tools: Tools | None = None


def set_up(settings: Settings) -> dict[str, Any]:
    """Open the connections and load the default model, if its files are there.

    Returns:
        What the worker announces of itself: the engine, and the models in memory. Jobs keep it up to date.
    """
    global _tools
    reader = CatalogReader(settings.catalog, settings.default_model)
    catalog = reader.read()
    # Not patient: a job that meets an absent Redis is put back by the worker, which is
    connection = connect(settings.redis_url, patient=False)
    _tools = Tools(
        settings=settings,
        storage=open_storage(settings),
        models=ModelCache(reader.read, settings),
        jobs=JobQueue(connection, settings),
        tally=Tally(connection),
        about={"engine": settings.engine, "models": []},
    )
    _tools.storage.prepare()
    started = time.perf_counter()
    try:
        model = _tools.models.get(catalog.default)
    except PublicError as error:  # the page says so; other models may still be asked for
        log.warning("the default model is not ready: %s", error.message)
        return _tools.about
    log.info("%s is loaded and warm after %.1f s", catalog.default, time.perf_counter() - started)
    _tools.about.update(engine=model.info().engine, models=list(_tools.models.resident))
    return _tools.about


def run(request: Mapping[str, Any]) -> None:
    """Do one job.

    Args:
        request: a `JobRequest` as JSON.

    Raises:
        BadInputError: the file or the options are at fault; the same again gives the same.
        TransientError: storage or Redis is away; worth trying again later.
    """
    if _tools is None:
        raise RuntimeError("set_up was not called in this process")
    job = JobRequest.model_validate(request)
    try:
        result = _process(job, _tools)
    finally:
        _tools.about["models"] = list(_tools.models.resident)
        if _tools.jobs.was_deleted(job.id):
            _tools.storage.delete_prefix(result_prefix(job.id))
    log.info(
        "job %s: %s on %s, %.0f ms: %s",
        job.id,
        job.model,
        result.source.format,
        result.timings_ms["total"],
        result.text,
    )


def _process(job: JobRequest, tools: Tools) -> ImageResult:
    clock = PhaseClock(job.id, tools.jobs)
    settings = tools.settings
    with clock.phase("fetch"):
        data = _fetch(job, tools.storage)
    with clock.phase("decode"):
        image = decode_image(data, max_pixels=settings.max_megapixels * 1_000_000, max_aspect=settings.max_aspect)
    del data
    model = tools.models.get(job.model)
    with clock.phase("preprocess"):
        prepared = model.preprocess(image.pixels)
    with clock.phase("inference"):
        outputs = model.infer(prepared)
    with clock.phase("postprocess"):
        prediction = model.understand(outputs, prepared, job.options)
        height, width = image.pixels.shape[:2]
        explanation = explain(model, outputs, prepared, prediction, job.options)
        findings = findings_of(prediction, (height, width), job.options.top, explanation)
    with clock.phase("draw"):
        files = draw(image.pixels, findings, prediction, explanation, job.input.filename)
    with clock.phase("store"):
        for file in files:
            tools.storage.put(result_key(job.id, file.artifact.name), file.data, file.artifact.content_type)
    result = ImageResult(
        id=job.id,
        created_at=job.created_at,
        started_at=clock.started_at,
        finished_at=datetime.now(UTC),
        source=_source(job, image),
        model=model.info(),
        options=job.options.of_task(model.entry.task),
        task=model.entry.task,
        detections=findings.detections,
        mask_percent=findings.mask_percent,
        classes=findings.classes,
        explained=findings.explained,
        counts=findings.counts,
        object_string=findings.object_string,
        text=findings.text,
        notes=list(image.notes),
        artifacts=[file.artifact for file in files],
        timings_ms=clock.timings(job.created_at),
    )
    tools.storage.put(result_key(job.id, "result.json"), result.to_json(), "application/json")
    tools.tally.record(Job.key_for(job.id), findings.counts, result.timings_ms, job.owner)
    tools.jobs.remember_cached(job.cache_key, job.id)
    return result


def _fetch(job: JobRequest, storage: Storage) -> bytes:
    try:
        return storage.get(job.input.key)
    except MissingObjectError:
        raise BadInputError("input_gone", "The uploaded file is no longer there.") from None


def _source(job: JobRequest, image: DecodedImage) -> Source:
    height, width = image.pixels.shape[:2]
    return Source(
        filename=job.input.filename,
        content_type=job.input.content_type,
        bytes=job.input.bytes,
        sha256=job.input.sha256,
        width=width,
        height=height,
        format=image.format,
        frames=image.frames,
    )


@dataclass
class PhaseClock:
    """Times the phases of one job, and reports them while they run."""

    job_id: str
    jobs: JobQueue
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _times_ms: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)
    _reported: float = field(default_factory=time.perf_counter)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time what is done inside as the phase `name`."""
        begin = time.perf_counter()
        if (begin - self._reported) * 1000 >= REPORT_INTERVAL_MS:
            self._reported = begin
            self.jobs.report_progress(self.job_id, name, round(100 * PHASES.index(name) / len(PHASES)))
        yield
        self._times_ms[name] = round((time.perf_counter() - begin) * 1000, 3)

    def timings(self, created_at: datetime) -> dict[str, float]:
        """Milliseconds per phase, and since the job was taken ("total") and made until then ("queue")."""
        return {
            "queue": round((self.started_at - created_at).total_seconds() * 1000, 3),
            **self._times_ms,
            "total": round((time.perf_counter() - self._start) * 1000, 3),
        }
