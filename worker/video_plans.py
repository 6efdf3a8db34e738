"""What there is to do with a video: whether it is split, and into which parts of about the same work."""

import math
import time
from datetime import datetime
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import BadInputError
from shared.jobs import JobOptions, parts_key
from shared.queue import PartOrder
from shared.settings import Settings
from shared.storage import MissingObjectError, Storage
from shared.videos import Segment, VideoFacts, VideoOptions
from worker.clock import PhaseClock
from worker.models.base import DetectionModel, Model
from worker.videos.limits import MOST_PIXELS, VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import Probe
from worker.videos.segments import Predict, analysed_fps

#: a video is not split if its work is less than so many times that of a part
_NOT_WORTH_IT: Final = 1.5
#: parts of a video at most: each costs a seek, a job and a list of files
_MOST_PARTS: Final = 500
#: parts may be so many times shorter than wanted, so that each worker has as many
_MOST_SHORTENED: Final = 3
#: seconds to decode, draw and encode a pixel, as measured (docs/videos.md)
_SECONDS_PER_PIXEL: Final = 25e-9
_SECONDS_TO_DECODE: Final = 6e-9
#: where keyframes are rare, this share of a part's time may be spent on decoding what another part looks at
_MOST_IN_VAIN: Final = 0.2
#: a part may take so many times what it should
_PATIENCE: Final = 4
_PLAN: Final = "plan.json"
#: milliseconds for which a model was loaded for the plan
_LOADED: Final = "load_ms"


class VideoPlan(BaseModel):
    """The parts of a video. Lies in storage while it is worked on, so that all who do a part do parts of the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started_at: datetime
    load_ms: float = Field(
        0,
        exclude=True,  # beside the plan: workers of an earlier version refuse what they do not know
        description="that the model took to be loaded, where it was not in memory",
    )
    facts: VideoFacts
    segments: list[Segment]
    frames: list[int] = Field(description="of each part: frames to look at, about")
    seconds: list[float] = Field(description="of each part: how long it should take")
    as_jobs: bool = Field(
        description="each part is a job of its own; also a single one that is long, but cannot be cut"
    )

    def orders(self, settings: Settings) -> list[PartOrder]:
        """The parts as jobs."""
        return [
            PartOrder(segment.number, frames, settings.video_timeout + round(_PATIENCE * seconds))
            for segment, frames, seconds in zip(self.segments, self.frames, self.seconds, strict=True)
        ]


def make_plan(
    probed: Probe,
    options: VideoOptions,
    model: DetectionModel,
    settings: Settings,
    clock: PhaseClock,
    *,
    workers: int = 1,
    may_split: bool = True,
) -> VideoPlan:
    """Plan a video.

    Args:
        probed: the video.
        options: of the job.
        model: that is to look at it: how fast it is, is tried.
        settings: `video_part_seconds`.
        clock: started when the video was begun with; knows how long the model was loaded for it.
        workers: that may share the work.
        may_split: whether a part can be decoded without the file as a whole.
    """
    facts = probed.facts
    per_frame = _seconds_per_frame(model, facts)
    per_second = per_frame * analysed_fps(facts, options)
    (whole,) = plan_segments(probed, options)
    length = _length(whole, facts, options)
    work = per_second * length
    segments = [whole]
    if may_split and work > _NOT_WORTH_IT * settings.video_part_seconds:
        target = length / _parts(work, settings.video_part_seconds, workers)
        in_vain = _MOST_IN_VAIN * settings.video_part_seconds / (_SECONDS_TO_DECODE * facts.width * facts.height)
        segments = plan_segments(probed, options, target, most_in_vain=int(in_vain))
    lengths = [_length(segment, facts, options) for segment in segments]
    return VideoPlan(
        started_at=clock.started_at,
        load_ms=clock.times_ms.get("load", 0),
        facts=facts,
        segments=segments,
        frames=[max(1, round(length * analysed_fps(facts, options))) for length in lengths],
        seconds=[round(length * per_second, 3) for length in lengths],
        as_jobs=work > _NOT_WORTH_IT * settings.video_part_seconds,
    )


def load_plan(storage: Storage, job_id: str) -> VideoPlan | None:
    """The plan of a video that is worked on, but for its `load_ms`."""
    try:
        return VideoPlan.model_validate_json(storage.get(parts_key(job_id, _PLAN)))
    except MissingObjectError:
        return None


def loaded_ms(storage: Storage, job_id: str) -> float:
    """The `load_ms` of the plan of a video that is worked on."""
    try:
        return float(storage.get(parts_key(job_id, _LOADED)))
    except MissingObjectError:
        return 0.0


def save_plan(storage: Storage, job_id: str, plan: VideoPlan) -> None:
    """Put the plan where every worker finds it."""
    if plan.load_ms:
        storage.put(parts_key(job_id, _LOADED), str(plan.load_ms).encode())
    storage.put(parts_key(job_id, _PLAN), plan.model_dump_json().encode())


def video_model(model: Model) -> DetectionModel:
    """The model, if it is one that videos are for. Raises `BadInputError("invalid_option")`."""
    if not isinstance(model, DetectionModel):
        raise BadInputError("invalid_option", f"model: {model.entry.name} looks at pictures only, not at videos.")
    return model


def predict_with(model: DetectionModel, options: JobOptions) -> Predict:
    """What a part does with frames. One at a time: on a CPU a batch is no faster."""
    return lambda pictures: [
        model.detect(picture, score=options.score, iou=options.iou, max_detections=options.max_detections)
        for picture in pictures
    ]


def limits_of(settings: Settings) -> VideoLimits:
    """What a video may be."""
    return VideoLimits(
        max_pixels=min(MOST_PIXELS, settings.max_megapixels * 1_000_000),
        max_seconds=settings.max_video_seconds,
        max_frames=settings.max_video_frames,
        max_aspect=settings.max_aspect,
        max_gigapixels=settings.max_video_gigapixels,
    )


def _parts(work: float, wanted: float, workers: int) -> int:
    """How many parts make so many seconds of work: as many for each worker, unless they would be too short for that."""
    number = max(1, round(work / wanted))
    even = math.ceil(number / workers) * workers
    return min(_MOST_PARTS, even if work / even >= wanted / _MOST_SHORTENED else number)


def _length(segment: Segment, facts: VideoFacts, options: VideoOptions) -> float:
    """Seconds of a part that are looked at, about."""
    tick = facts.time_base[0] / facts.time_base[1]
    start = (segment.start - facts.origin) * tick if segment.start is not None else 0.0
    end = (segment.end - facts.origin) * tick if segment.end is not None else facts.duration
    return max(0.0, min(end, options.end or end) - max(start, options.start))


def _seconds_per_frame(model: DetectionModel, facts: VideoFacts) -> float:
    blank = np.zeros((facts.height, facts.width, 3), np.uint8)
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        model.detect(blank)
        times.append(time.perf_counter() - begin)
    return min(times) + _SECONDS_PER_PIXEL * facts.width * facts.height
