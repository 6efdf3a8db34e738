"""The job function: fetch, decode, load, preprocess, inference, postprocess, draw; each a named, timed phase.

It runs in the resident horse. What it needs is made once by `set_up`; what it does for a job may be done twice
and gives the same objects. The last phase, to store them, is done beside the next job (`worker.endings`).
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from shared.catalog import CatalogReader
from shared.errors import BadInputError, PublicError
from shared.jobs import JobRequest, PartRequest, Progress, parts_prefix, result_prefix
from shared.queue import JobQueue, Tally, connect
from shared.settings import Settings
from shared.storage import MissingObjectError, Storage, open_storage
from shared.trained import TrainedModels
from worker.clock import PhaseClock
from worker.images import decode_image
from worker.looking import look
from worker.models.registry import ModelCache
from worker.resident.ending import Ending
from worker.scratch import sweep_scratch
from worker.tools import Tools
from worker.video_jobs import run_video
from worker.video_parts import run_part as do_part

log = logging.getLogger(__name__)


_tools: Tools | None = None


def set_up(settings: Settings) -> dict[str, Any]:
    """Open the connections and load the default model, if its files are there.

    Returns:
        What the worker announces of itself: the engine, and the models in memory. Jobs keep it up to date.
    """
    global _tools
    # Not patient: a job that meets an absent Redis is put back by the worker, which is
    connection = connect(settings.redis_url, patient=False)
    storage = open_storage(settings)
    trained = TrainedModels(storage, connection)
    reader = CatalogReader(settings.catalog, settings.default_model, trained.entries)
    catalog = reader.read()
    trained.prune(settings)
    _tools = Tools(
        settings=settings,
        storage=storage,
        models=ModelCache(reader.read, settings, trained),
        jobs=JobQueue(connection, settings),
        tally=Tally(connection),
        about={"engine": settings.engine, "models": []},
    )
    _tools.storage.prepare()
    sweep_scratch()
    started = time.perf_counter()
    try:
        name = catalog.in_use(catalog.installed(settings.weights_dir))
        model = _tools.models.get(name)
    except PublicError as error:  # the page says so; other models may still be asked for
        log.warning("the default model is not ready: %s", error.message)
        return _tools.about
    log.info("%s is loaded and warm after %.1f s", name, time.perf_counter() - started)
    _tools.about.update(engine=model.info().engine, **_in_memory(_tools.models))
    return _tools.about


def run(request: Mapping[str, Any]) -> Ending | None:
    """Do one job.

    Args:
        request: a `JobRequest` as JSON.

    Returns:
        Of a photo what was made, which is still to be stored; of a video, which has stored it, None.

    Raises:
        BadInputError: the file or the options are at fault; the same again gives the same.
        TransientError: storage or Redis is away; worth trying again later.
    """
    tools = _own_tools()
    job = JobRequest.model_validate(request)
    try:
        if job.video is None:
            return _process(job, tools)
        try:
            run_video(job, tools)
        finally:
            if tools.jobs.was_deleted(job.id):
                tools.storage.delete_prefix(result_prefix(job.id))
                tools.storage.delete_prefix(parts_prefix(job.id))
        return None
    finally:
        tools.about.update(_in_memory(tools.models))


def run_part(request: Mapping[str, Any]) -> None:
    """Do a part of a video.

    Args:
        request: a `PartRequest` as JSON.

    Raises:
        BadInputError: the file is at fault.
        TransientError: storage or Redis is away.
    """
    tools = _own_tools()
    try:
        do_part(PartRequest.model_validate(request), tools)
    finally:
        tools.about.update(_in_memory(tools.models))


def _own_tools() -> Tools:
    if _tools is None:
        raise RuntimeError("set_up was not called in this process")
    return _tools


def _in_memory(models: ModelCache) -> dict[str, Any]:
    return {"models": list(models.resident), "arithmetic": models.arithmetic}


def _process(job: JobRequest, tools: Tools) -> Ending:
    clock = PhaseClock(
        lambda phase, percent: tools.jobs.report_progress(job.id, Progress(phase=phase, percent=percent))
    )
    settings, storage = tools.settings, tools.storage
    with clock.phase("fetch"):
        data = _fetch(job, storage)
    with clock.phase("decode"):
        image = decode_image(data, max_pixels=settings.max_megapixels * 1_000_000, max_aspect=settings.max_aspect)
    del data
    model = tools.models.get(job.model, lambda: clock.phase("load"))
    seen = look(image, job.input, model, job.options, clock)
    result = seen.result(job.id, job.created_at, clock)
    return Ending(result.to_json(), [(file.artifact.name, file.data) for file in seen.files], time.monotonic())


def _fetch(job: JobRequest, storage: Storage) -> bytes:
    try:
        return storage.get(job.input.key)
    except MissingObjectError:
        raise BadInputError("input_gone", "The uploaded file is no longer there.") from None
