"""One result of all parts: one numbering of tracks, one video, one document.

What depends on the frames before is done here, and nothing else: tracking and counting, for which the boxes are
enough. The pictures were drawn and encoded by whoever looked at them.
"""

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Final

from PIL import Image

from shared.errors import BadInputError
from shared.results import Artifact, object_string
from shared.videos import (
    TICKS_PER_SECOND,
    FrameDetections,
    SegmentResult,
    VideoFacts,
    VideoFindings,
    VideoOptions,
    not_counted,
    video_sentence,
)
from worker.videos.containers import VideoFile
from worker.videos.counting import Counting
from worker.videos.muxing import Part, Sound, write_video
from worker.videos.segments import PREVIEW_SIDE, analysed_fps
from worker.videos.tracking import Tracking

_CONTENT_TYPES: Final = {
    "annotated.mp4": "video/mp4",
    "poster.jpg": "image/jpeg",
    "thumbnail.jpg": "image/jpeg",
    "preview.webp": "image/webp",
    "frames.jsonl": "application/x-ndjson",
    "frames.csv": "text/csv; charset=utf-8",
}
_COLUMNS: Final = ("frame", "time", "track", "label", "class", "score", "left", "top", "right", "bottom")
_PREVIEW_MILLISECONDS: Final = 200
_PREVIEW_QUALITY: Final = 60
#: a file is called cut if this much less was decoded than its header says
_CUT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class DonePart:
    """A part that was done.

    Args:
        result: what was said of it.
        folder: where its files lie.
    """

    result: SegmentResult
    folder: Path


def join(
    file: VideoFile, facts: VideoFacts, options: VideoOptions, parts: Sequence[DonePart], folder: Path
) -> VideoFindings:
    """Make one result.

    Args:
        file: the original, for its sound.
        facts: of it.
        options: those that the parts were done with.
        parts: all of them, in any order.
        folder: where `annotated.mp4`, `poster.jpg`, `thumbnail.jpg`, `preview.webp`, `frames.jsonl` and `frames.csv`
            are written.

    Raises:
        BadInputError: `no_frames`: there was no frame to look at.
        ValueError: a part is missing.
    """
    parts = sorted(parts, key=lambda part: part.result.segment.number)
    _check_complete(parts)
    begin = time.perf_counter()
    if not any(part.result.analysed for part in parts):
        where = " between start and end" if options.start or options.end is not None else ""
        raise BadInputError("no_frames", f"No frame of the video{where} can be decoded.")
    fps = analysed_fps(facts, options)
    tracking, counting = Tracking(fps), Counting(options, (facts.width, facts.height))
    starts = _write_frames(parts, tracking, counting, folder)
    tracked = time.perf_counter()
    decoded = sum(part.result.decoded for part in parts)
    analysed = sum(part.result.analysed for part in parts)
    end = max(part.result.end_time for part in parts)
    duration = (min(end, options.end) if options.end is not None else end) - options.start
    notes = _notes(facts, options, parts, decoded, end)
    if options.draw:
        drawn = [
            Part(part.folder / "video.mp4", ticks)
            for part, ticks in zip(parts, starts, strict=True)
            if ticks is not None
        ]
        notes += write_video(drawn, _sound(file, facts, options, duration), folder / "annotated.mp4")
    sizes = _write_pictures(parts, folder)
    tracks, unlisted = tracking.tracks()
    if unlisted:
        notes.append(f"{unlisted} more objects were seen only shortly; they are counted but not listed.")
    counts, timeline = tracking.counts(), counting.timeline(duration)
    if unsure := not_counted(counts, timeline.most):
        notes.append(unsure)
    return VideoFindings(
        frames=decoded,
        analysed=analysed,
        fps=round(fps, 3),
        duration=round(duration, 3),
        counts=counts,
        object_string=object_string(counts),
        text=video_sentence(counts, timeline.most),
        tracks=tracks,
        timeline=timeline,
        line=counting.line(tracking),
        zone=counting.zone(tracking),
        notes=notes,
        artifacts=[_artifact(folder / name, sizes.get(name)) for name in _CONTENT_TYPES if (folder / name).exists()],
        timings_ms=_timings(parts)
        | {
            "track": round((tracked - begin) * 1000, 3),
            "join": round((time.perf_counter() - tracked) * 1000, 3),
        },
    )


def _check_complete(parts: Sequence[DonePart]) -> None:
    segments = [part.result.segment for part in parts]
    joined = all(before.end == after.start and before.end is not None for before, after in pairwise(segments))
    numbers = [segment.number for segment in segments]
    if not segments or numbers != list(range(len(segments))) or not joined or segments[-1].end is not None:
        raise ValueError("a part of the video is missing")


def _write_frames(parts: Sequence[DonePart], tracking: Tracking, counting: Counting, folder: Path) -> list[int | None]:
    """Number the objects and write them down. Returns when each part begins, in ticks; None where it has no frame."""
    starts: list[int | None] = []
    with ExitStack() as stack:
        lines = stack.enter_context((folder / "frames.jsonl").open("wb"))
        table = csv.writer(stack.enter_context((folder / "frames.csv").open("w", encoding="utf-8", newline="")))
        table.writerow(_COLUMNS)
        before = parts[0].result.segment.first_index  # frames of the file that were decoded in the parts before
        for part in parts:
            start: int | None = None
            offset = before - part.result.segment.first_index
            for frame in _frames(part):
                start = round(frame.time * TICKS_PER_SECOND) if start is None else start
                numbered = tracking.follow(frame.model_copy(update={"index": frame.index + offset}))
                counting.add(numbered)
                lines.write(numbered.model_dump_json(exclude_none=True).encode() + b"\n")
                table.writerows(_rows(numbered))
            starts.append(start)
            before += part.result.decoded
    return starts


def _frames(part: DonePart) -> Iterator[FrameDetections]:
    with (part.folder / "frames.jsonl").open("rb") as lines:
        for line in lines:
            yield FrameDetections.model_validate_json(line)


def _rows(frame: FrameDetections) -> Iterator[tuple[object, ...]]:
    for found in frame.detections:
        yield frame.index, frame.time, found.track_id, found.label, found.class_id, found.score, *found.box


def _sound(file: VideoFile, facts: VideoFacts, options: VideoOptions, duration: float) -> Sound | None:
    if facts.audio is None:
        return None
    start = facts.origin * facts.time_base[0] / facts.time_base[1] + options.start
    return Sound(file, facts.audio, facts.audio_codec or "", start, duration)


def _notes(facts: VideoFacts, options: VideoOptions, parts: Sequence[DonePart], decoded: int, end: float) -> list[str]:
    notes = []
    damaged = sum(part.result.damaged for part in parts)
    promised = max(facts.declared or 0, facts.duration)
    if damaged or (options.end is None and end < promised - max(_CUT_SECONDS, 2 / facts.fps)):
        notes.append(
            f"The file is damaged or cut short: {decoded} {'frame' if decoded == 1 else 'frames'} could be decoded, "
            f"to second {end:.1f} of {promised:.1f}."
        )
    if facts.streams > 1:
        notes.append(f"The file has {facts.streams} video streams; one was looked at.")
    return notes


def _write_pictures(parts: Sequence[DonePart], folder: Path) -> dict[str, tuple[int, int]]:
    """Write poster, thumbnail and preview. Returns their sizes (width, height)."""
    seen = [part for part in parts if part.result.analysed]
    best = max(seen, key=lambda part: part.result.poster_objects)
    poster = (best.folder / "poster.jpg").read_bytes()
    (folder / "poster.jpg").write_bytes(poster)
    with Image.open(BytesIO(poster)) as image:
        sizes = {"poster.jpg": image.size}
        image.draft("RGB", (PREVIEW_SIDE, PREVIEW_SIDE))
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        image.save(folder / "thumbnail.jpg", quality=90)
        sizes["thumbnail.jpg"] = image.size
    names = [part.folder / name for part in seen for name in sorted(part.result.files) if name.startswith("preview-")]
    pictures = [Image.open(BytesIO(name.read_bytes())) for name in names]
    first, *others = pictures
    first.save(
        folder / "preview.webp",
        save_all=True,
        append_images=others,
        duration=_PREVIEW_MILLISECONDS,
        loop=0,
        quality=_PREVIEW_QUALITY,
        method=2,
    )
    sizes["preview.webp"] = first.size
    return sizes


def _artifact(path: Path, size: tuple[int, int] | None) -> Artifact:
    width, height = size or (None, None)
    return Artifact(
        name=path.name,
        content_type=_CONTENT_TYPES[path.name],
        bytes=path.stat().st_size,
        width=width,
        height=height,
    )


def _timings(parts: Sequence[DonePart]) -> dict[str, float]:
    """The parts' times, added; "load" only if a part's worker did not have the model in memory."""
    times: dict[str, float] = {}
    for part in parts:
        for name, taken in part.result.timings_ms.items():
            times[name] = times.get(name, 0) + taken
    times.pop("total", None)  # they run side by side
    return {name: round(taken, 3) for name, taken in times.items()}
