"""A part of a long video as a job of its own, and its files on their way through storage.

`part.json`, written last, is what makes a part done.
"""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from shared.errors import TransientError
from shared.jobs import LIVE_FRAME, JobRequest, PartRequest, parts_key, parts_prefix
from shared.queue import PartProgress
from shared.storage import Storage
from shared.videos import SegmentResult
from worker.clock import PhaseClock
from worker.engines.threads import threads_for
from worker.scratch import scratch_folder
from worker.tools import Tools
from worker.video_input import open_upload
from worker.video_plans import VideoPlan, limits_of, load_plan, predict_with, video_model
from worker.videos.containers import VideoFile
from worker.videos.joining import DonePart
from worker.videos.segments import Progress, process_segment

log = logging.getLogger(__name__)

_DOCUMENT: Final = "part.json"
_DONE: Final = re.compile(r"parts/[0-9a-f]{32}/(\d+)/part\.json")
#: seconds between two reports of a part: each is sent to every page that shows the video
_BETWEEN_REPORTS: Final = 0.5
#: of a worker's threads, one of so many decodes beside the one that always does: the others are the model's
_DECODING_SHARE: Final = 4


class NotWantedError(Exception):
    """The video was canceled or deleted, or another part of it has failed."""


def run_part(part: PartRequest, tools: Tools) -> None:
    """Do a part.

    Raises:
        BadInputError: the file is at fault.
        TransientError: storage is away.
    """
    record = tools.jobs.get(part.video)
    plan = load_plan(tools.storage, part.video)
    if record is None or record.state.is_final or plan is None:
        _leave_nothing(part.video, tools)
        return
    done = done_parts(tools.storage, part.video, plan)
    if part.number not in done:
        try:
            done[part.number] = _do(record.request, plan, part.number, tools)
        except NotWantedError:
            log.info("part %d of video %s is not wanted any more", part.number, part.video)
        else:
            timings = done[part.number].timings_ms
            log.info(
                "part %d of video %s: %d frames, %.1f s",
                part.number,
                part.video,
                done[part.number].analysed,
                timings["total"] / 1000,
            )
    if part.number in done:
        tools.jobs.parts.done(part.video, part.number, done[part.number].analysed)
    _leave_nothing(part.video, tools)


def process_part(
    file: VideoFile,
    job: JobRequest,
    plan: VideoPlan,
    number: int,
    folder: Path,
    tools: Tools,
    tell: Callable[[Progress], None],
) -> SegmentResult:
    """Decode, look, draw and encode. Also what a video that is not split has done, as its only part."""
    settings, clock = tools.settings, PhaseClock()
    model = video_model(tools.models.get(job.model, lambda: clock.phase("load")))
    result = process_segment(
        file,
        plan.facts,
        plan.segments[number],
        job.video_options,
        predict_with(model, job.options),
        folder,
        limits=limits_of(settings),
        batch=1,
        threads=max(1, threads_for(settings) // _DECODING_SHARE),
        on_progress=tell,
    )
    return result.model_copy(update={"timings_ms": result.timings_ms | clock.times_ms})


def _do(job: JobRequest, plan: VideoPlan, number: int, tools: Tools) -> SegmentResult:
    reporter = _Reporter(job.id, number, tools)
    reporter.report(Progress(0, 0, 0, None))
    with scratch_folder() as folder:
        files = folder / "part"
        files.mkdir()
        with open_upload(tools.storage, job, folder, limits_of(tools.settings)) as file:
            result = process_part(file, job, plan, number, files, tools, reporter.report)
        for name in result.files:
            tools.storage.put_file(_part_key(job.id, number, name), files / name)
    tools.storage.put(_part_key(job.id, number, _DOCUMENT), result.model_dump_json().encode())
    return result


def done_parts(storage: Storage, job_id: str, plan: VideoPlan) -> dict[int, SegmentResult]:
    """The parts of a video that are done, by number.

    None of another plan: a worker may end a part that it had before the video was tried again, and planned anew.
    """
    matches = (_DONE.fullmatch(stat.key) for stat in storage.list(parts_prefix(job_id)))
    numbers = {int(match[1]) for match in matches if match is not None}
    found = {
        segment.number: SegmentResult.model_validate_json(storage.get(_part_key(job_id, segment.number, _DOCUMENT)))
        for segment in plan.segments
        if segment.number in numbers
    }
    return {number: result for number, result in found.items() if result.segment == plan.segments[number]}


def fetch_part(storage: Storage, job_id: str, result: SegmentResult, folder: Path) -> DonePart:
    """Bring the files of a part that is done into a folder. Raises `MissingObjectError`."""
    folder.mkdir()
    for name in result.files:
        storage.get_file(_part_key(job_id, result.segment.number, name), folder / name)
    return DonePart(result, folder)


def show_live(job_id: str, picture: bytes | None, tools: Tools) -> int | None:
    """Put a frame where pages find it, unless another worker has just done so. Its stamp, if it was put there."""
    if picture is None or not tools.jobs.parts.wants_picture(job_id):
        return None
    tools.storage.put(parts_key(job_id, LIVE_FRAME), picture)
    return time.time_ns() // 1_000_000


def _part_key(job_id: str, number: int, name: str) -> str:
    return parts_key(job_id, f"{number}/{name}")


def _leave_nothing(job_id: str, tools: Tools) -> None:
    """Take away what parts have written for a video that is over."""
    record = tools.jobs.get(job_id)
    if record is None or record.state.is_final:
        tools.storage.delete_prefix(parts_prefix(job_id))


class _Reporter:
    """Says how far a part is, and learns whether it is wanted still."""

    def __init__(self, job_id: str, number: int, tools: Tools) -> None:
        self._job_id = job_id
        self._number = number
        self._tools = tools
        self._last = -_BETWEEN_REPORTS

    def report(self, progress: Progress) -> None:
        """Raises `NotWantedError`."""
        now = time.monotonic()
        if now - self._last < _BETWEEN_REPORTS and progress.preview is None:
            return
        self._last = now
        with suppress(TransientError):  # the work goes on meanwhile
            self._report(progress)

    def _report(self, progress: Progress) -> None:
        parts = self._tools.jobs.parts
        said = PartProgress(
            percent=progress.percent, frames=progress.frames, fps=progress.frames_per_second, at=time.time()
        )
        if parts.report(self._job_id, self._number, said) is None:
            raise NotWantedError
        stamp = show_live(self._job_id, progress.preview, self._tools)
        if stamp is not None:
            parts.has_picture(self._job_id, stamp)
        self._tools.jobs.report_progress(self._job_id, parts.progress(self._job_id))
