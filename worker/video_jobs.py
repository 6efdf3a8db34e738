"""The job of a video. It is run as often as it takes, and each time looks what there is in storage.

- nothing: it plans. A short video is done right away. Else there are jobs for its parts, and it waits for them.
- parts: jobs are made for those that are missing, and it waits again.
- all parts: it joins them. `result.json`, written last, is what makes it finished.

So whatever was lost on the way, to run it again is the remedy.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rq.job import Job

from shared.errors import PublicError, TransientError
from shared.jobs import RESULT_DOCUMENT, JobRequest, Phase, parts_prefix, result_key
from shared.jobs import Progress as JobProgress
from shared.queue import Fleet, PartsPendingError
from shared.storage import MissingObjectError
from shared.videos import VideoResult
from worker.clock import PhaseClock
from worker.models.base import DetectionModel
from worker.scratch import scratch_folder
from worker.tools import Tools
from worker.video_input import is_read_in_pieces, open_upload
from worker.video_parts import done_parts, fetch_part, process_part, show_live
from worker.video_plans import VideoPlan, limits_of, load_plan, loaded_ms, make_plan, save_plan, video_model
from worker.video_results import Looked, video_result
from worker.videos.containers import VideoFile
from worker.videos.joining import DonePart, join
from worker.videos.probing import probe
from worker.videos.segments import Progress

log = logging.getLogger(__name__)

#: percent that a job shows when all frames are done
_LOOKED_AT: Final = 96


def run_video(job: JobRequest, tools: Tools) -> None:
    """Do what there is to do for a video now.

    Raises:
        PartsPendingError: its parts have to be done first.
        PublicError: the file, the options or a part of the service is at fault; also one of its parts.
    """
    result = _earlier_result(job, tools)
    if result is None:
        try:
            with scratch_folder() as folder:
                result = _run(job, tools, folder)
        except TransientError:
            raise
        except PublicError as error:
            if error.code != "storage_full":  # which is waited for
                _clean_up(job, tools)
            raise
    # also of an earlier run that broke off after the result was written, or before Redis had heard of it
    phases = {f"video {name}": value for name, value in result.timings_ms.items()}
    tools.tally.record(Job.key_for(job.id), result.counts, phases, job.owner)
    tools.jobs.remember_cached(job.cache_key, job.id, result.model.arithmetic)
    _clean_up(job, tools)


def _earlier_result(job: JobRequest, tools: Tools) -> VideoResult | None:
    try:
        return VideoResult.from_json(tools.storage.get(result_key(job.id, RESULT_DOCUMENT)))
    except MissingObjectError:
        return None


def _run(job: JobRequest, tools: Tools, folder: Path) -> VideoResult:
    beginning, ending = PhaseClock(), PhaseClock()
    _tell(job, tools, "fetch", 0)
    with open_upload(tools.storage, job, folder, limits_of(tools.settings)) as file:
        plan = load_plan(tools.storage, job.id)
        if plan is None:
            _tell(job, tools, "decode", 0)
            plan = _plan(job, tools, file, beginning)
        parts = (
            _ordered_parts(job, plan, tools, folder) if plan.as_jobs else [_only_part(job, plan, file, tools, folder)]
        )
        _tell(job, tools, "join", _LOOKED_AT)
        made = folder / "result"
        made.mkdir()
        with ending.phase("join"):
            findings = join(file, plan.facts, job.video_options, parts, made)
    model = _model(job, tools, ending, 98)
    _tell(job, tools, "store", 98)
    with ending.phase("store"):
        for artifact in findings.artifacts:
            tools.storage.put_file(result_key(job.id, artifact.name), made / artifact.name)
    planning = loaded_ms(tools.storage, job.id) if plan.as_jobs else plan.load_ms
    loading = planning + findings.timings_ms.get("load", 0) + ending.times_ms.get("load", 0)
    result = video_result(
        job.id,
        job.input,
        Looked(model, job.options, job.video_options),
        plan.facts,
        findings,
        (job.created_at, plan.started_at),
        ending.times_ms | ({"load": round(loading, 3)} if loading else {}),
    )
    tools.storage.put(result_key(job.id, RESULT_DOCUMENT), result.to_json())
    log.info(
        "video %s: %s on %d frames in %d parts, %.1f s: %s",
        job.id,
        job.model,
        findings.analysed,
        len(parts),
        result.timings_ms["total"] / 1000,
        result.text,
    )
    return result


def _plan(job: JobRequest, tools: Tools, file: VideoFile, clock: PhaseClock) -> VideoPlan:
    probed = probe(file, limits_of(tools.settings))
    model = _model(job, tools, clock, 0)
    workers = sum(worker.ready for worker in Fleet(tools.jobs.redis).workers())
    plan = make_plan(
        probed,
        job.video_options,
        model,
        tools.settings,
        clock,
        workers=max(1, workers),
        may_split=is_read_in_pieces(job),
    )
    if plan.as_jobs:
        save_plan(tools.storage, job.id, plan)
    return plan


def _model(job: JobRequest, tools: Tools, clock: PhaseClock, percent: int) -> DetectionModel:
    """The model of a video. If it has to be loaded, the page is told so."""

    @contextmanager
    def loading() -> Iterator[None]:
        _tell(job, tools, "load", percent)
        with clock.phase("load"):
            yield

    return video_model(tools.models.get(job.model, loading))


def _only_part(job: JobRequest, plan: VideoPlan, file: VideoFile, tools: Tools, folder: Path) -> DonePart:
    files = folder / "part"
    files.mkdir()
    live: int | None = None

    def tell(progress: Progress) -> None:
        nonlocal live
        with suppress(TransientError):  # the work goes on meanwhile
            live = show_live(job.id, progress.preview, tools) or live
            said = JobProgress(
                phase="inference",
                percent=int(_LOOKED_AT * progress.percent / 100),
                frames=progress.frames,
                fps=round(progress.frames_per_second, 2),
                seconds_left=round(progress.seconds_left, 1) if progress.seconds_left is not None else None,
                live=live,
            )
            tools.jobs.report_progress(job.id, said)

    return DonePart(process_part(file, job, plan, 0, files, tools, tell), files)


def _ordered_parts(job: JobRequest, plan: VideoPlan, tools: Tools, folder: Path) -> list[DonePart]:
    """All parts, once all are done. Raises `PartsPendingError`, or with what one has failed."""
    done = done_parts(tools.storage, job.id, plan)
    if len(done) < len(plan.segments):
        frames = {number: result.analysed for number, result in done.items()}
        tools.jobs.parts.order(job, plan.orders(tools.settings), frames)
        raise PartsPendingError
    try:
        return [fetch_part(tools.storage, job.id, result, folder / f"part-{number}") for number, result in done.items()]
    except MissingObjectError as error:  # somebody has deleted them
        raise RuntimeError("files of a part that is done are missing") from error


def _tell(job: JobRequest, tools: Tools, phase: Phase, percent: int) -> None:
    """Say so, but never less than what is done: whoever goes on with a video begins at its first phase again."""
    with suppress(TransientError):
        known = tools.jobs.parts.progress(job.id)
        parts = known.parts if known.parts and known.parts.total else None
        said = JobProgress(phase=phase, percent=max(percent, known.percent), parts=parts)
        tools.jobs.report_progress(job.id, said)


def _clean_up(job: JobRequest, tools: Tools) -> None:
    """Take away what was needed on the way."""
    tools.jobs.parts.drop(job.id)
    tools.storage.delete_prefix(parts_prefix(job.id))
