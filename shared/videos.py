"""The documents of a video: its options, what is known of the file, its parts, and the result.

`result.json` of a video is a `VideoResult`. What was found in each frame is in `frames.jsonl`, one `FrameDetections`
a line, so that neither the result nor its reader grows with the length of the video.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from shared.results import SCHEMA_VERSION, Artifact, Detection, ModelUsed, Score, Source, Task, plural

#: all times in the drawn video and in documents are whole multiples of this part of a second
TICKS_PER_SECOND: Final = 90_000

#: a place in the picture as shares of its width and height: a drawing stays right in any size
Share = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Share, Share]
ZoneCorners = Annotated[tuple[Point, ...], Field(min_length=3, max_length=32)]
#: seconds that may be asked for, far beyond any video: an infinite number of them has no frames and no JSON
MOST_SECONDS: Final = 1e9
#: labels that a note names though nothing of them could be followed
_MOST_UNSURE: Final = 5
NOTHING_FOLLOWED: Final = "Nothing in this video was seen long or surely enough to be counted."


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class VideoOptions(_Document):
    """Which frames are looked at, what is made of them, and what is counted.

    A form may send `line` as "x1,y1,x2,y2", `zone` as "x,y x,y x,y", and leave what it does not know empty.
    """

    every: int = Field(1, ge=1, le=1000, description="only frames whose number is a multiple of this")
    fps: float | None = Field(None, ge=0.01, le=240, description="at most so many frames a second, instead of `every`")
    start: float = Field(0, ge=0, le=MOST_SECONDS, description="seconds; what comes before is left out")
    end: float | None = Field(None, gt=0, le=MOST_SECONDS, description="seconds; what comes after is left out")
    max_side: int = Field(1920, ge=64, le=4096, description="longest side of the drawn video in pixels")
    draw: bool = Field(True, description="make a video with boxes; otherwise documents only")
    line: tuple[Share, Share, Share, Share] | None = Field(
        None, description="x1, y1, x2, y2: who crosses it is counted, by direction"
    )
    zone: tuple[Point, ...] | None = Field(
        None, min_length=3, max_length=32, description="corners of a polygon: who is inside is counted"
    )

    @field_validator("fps", "end", mode="before")
    @classmethod
    def _left_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("line", mode="before")
    @classmethod
    def _line_as_text(cls, value: object) -> object:
        return (value.replace(",", " ").split() or None) if isinstance(value, str) else value

    @field_validator("zone", mode="before")
    @classmethod
    def _zone_as_text(cls, value: object) -> object:
        return ([corner.split(",") for corner in value.split()] or None) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        if self.fps is not None and self.every != 1:
            raise ValueError("either every or fps, not both")
        if self.line is not None and self.line[:2] == self.line[2:]:
            raise ValueError("the line needs two different ends")
        if self.zone is not None and _area(self.zone) < 1e-6:
            raise ValueError("the zone has no area")
        return self

    def that_count(self) -> dict[str, object]:
        """Those that make a difference to the result."""
        return self.model_dump(mode="json", exclude=None if self.draw else {"max_side"})


def _area(corners: tuple[Point, ...]) -> float:
    following = corners[1:] + corners[:1]
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, following, strict=True))) / 2


class VideoFacts(_Document):
    """What was found out of a file by reading all its packets and decoding its first frame.

    Sizes are those of the upright picture. Times in `pts` count `time_base` seconds (numerator, denominator).
    """

    format: str = Field(description="FFmpeg's name of the container, for instance mov,mp4,m4a,3gp,3g2,mj2")
    codec: str
    pixel_format: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    rotation: int = Field(description="quarter turns counterclockwise that make the picture upright, 0 to 3")
    sample_aspect: tuple[int, int] = Field((1, 1), description="width, height of a pixel of the upright picture")
    fps: float = Field(gt=0, description="frames by time, on average")
    frames: int = Field(ge=1, description="packets of the video stream; one usually holds one frame")
    duration: float = Field(gt=0, description="seconds from the first frame to the end of the last, by the packets")
    declared: float | None = Field(None, description="seconds that the header says")
    stream: int = Field(ge=0, description="index of the video stream that is used")
    streams: int = Field(1, ge=1, description="video streams in the file")
    time_base: tuple[int, int]
    origin: int = Field(description="pts of the first frame: time 0")
    audio: int | None = Field(None, description="index of the stream whose sound is kept")
    audio_codec: str | None = None


class Segment(_Document):
    """A part of a video that can be decoded by itself.

    The frames of a part are those that are *shown* from `start` to before `end`, whatever order they are stored in.
    """

    number: int = Field(ge=0)
    start: int | None = Field(None, description="pts of the first frame; None: from the beginning")
    keyframe: int | None = Field(
        None, description="pts of the keyframe that decoding begins with, `start` or before it; None: at the beginning"
    )
    end: int | None = Field(None, description="pts of the next part's first frame; None: to the end")
    previous: int | None = Field(None, description="pts of the last frame before `start`")
    first_index: int = Field(0, ge=0, description="frames shown before `start`")
    frames: int = Field(ge=1, description="packets whose frames are shown in this part")


class FrameDetections(_Document):
    """A line of `frames.jsonl`: what is in one frame that was looked at."""

    index: int = Field(ge=0, description="number of the frame in the original, from 0")
    time: float = Field(ge=0, description="seconds in the drawn video, which begins at 0")
    detections: list[Detection]


class SegmentResult(_Document):
    """What a worker found out of one part. Its files lie beside it: `frames.jsonl`, `video.mp4` and pictures."""

    segment: Segment
    decoded: int = Field(ge=0, description="frames decoded")
    analysed: int = Field(ge=0, description="frames looked at")
    damaged: int = Field(0, ge=0, description="packets that could not be read or decoded")
    end_time: float = Field(0, ge=0, description="seconds from the first frame of the file to the end of the last one")
    poster_objects: int = Field(0, ge=0, description="objects in the frame of `poster.jpg`")
    files: tuple[str, ...] = Field((), description="the names of its files")
    timings_ms: dict[str, float] = Field(
        {},
        description="decode, inference, draw, encode: busy times; load: if the model was not in memory; total: elapsed",
    )


class Track(_Document):
    """One object as it was followed through the video."""

    id: int = Field(ge=1)
    label: str = Field(description="the label that most of its detections have, by the sum of their scores")
    class_id: int = Field(ge=0)
    score: Score = Field(description="the best of its detections")
    first: float = Field(description="seconds")
    last: float
    frames: int = Field(ge=1, description="frames in which it was seen")


class Timeline(_Document):
    """How many of each label were to be seen, over time."""

    seconds: float = Field(gt=0, description="length of a bin; the first begins at 0")
    most: dict[str, list[int]] = Field(description="per label and bin the most at the same time, tracked or not")


class LineCounts(_Document):
    """Who crossed the line, per label. A box crosses with the middle of its lower edge."""

    line: tuple[Share, Share, Share, Share]
    to_right: dict[str, int] = Field(description="towards the right hand of one who looks from x1, y1 to x2, y2")
    to_left: dict[str, int]


class ZoneCounts(_Document):
    """Who was inside the zone, per label. A box is inside with the middle of its lower edge."""

    zone: tuple[Point, ...]
    entered: dict[str, int] = Field(description="different objects that were ever inside")
    most: int = Field(description="the most at the same time")


class VideoFindings(_Document):
    """The part of the result that comes from the frames."""

    frames: int = Field(ge=1, description="frames decoded")
    analysed: int = Field(ge=1, description="frames looked at: those of the drawn video and of frames.jsonl")
    fps: float = Field(description="frames a second of the drawn video, on average")
    duration: float = Field(description="seconds of the drawn video")
    counts: dict[str, int] = Field(description="different objects per label, most frequent first")
    object_string: str
    text: str
    tracks: list[Track] = Field(description="in the order of their ids; the longest if there are too many to list")
    timeline: Timeline
    line: LineCounts | None = None
    zone: ZoneCounts | None = None
    notes: list[str]
    artifacts: list[Artifact]
    timings_ms: dict[str, float]


class VideoSource(Source):
    """What was uploaded. `frames` says how many were decoded."""

    duration: float = Field(description="seconds, as decoded")
    fps: float
    codec: str
    audio: str | None = None


class VideoResult(VideoFindings):
    """The result of one video."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["video"] = "video"
    id: str
    created_at: datetime
    started_at: datetime
    finished_at: datetime
    source: VideoSource
    model: ModelUsed
    options: dict[str, float | int | str | bool]
    video_options: VideoOptions
    task: Task = "detection"

    def to_json(self) -> bytes:
        """The document as UTF-8 JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Parse and validate. Raises `pydantic.ValidationError` if it is not such a document."""
        return cls.model_validate_json(data)


def video_sentence(counts: dict[str, int], seen: Iterable[str] = ()) -> str:
    """A plain sentence: "This video shows 12 people and 1 dog.".

    Args:
        counts: different objects per label.
        seen: the labels of all that was found, followed or not.
    """
    if not counts:
        unsure = any(True for _ in seen)
        return NOTHING_FOLLOWED if unsure else "Nothing that this model knows was found in this video."
    *most, last = [f"{count} {plural(label, count)}" for label, count in counts.items()]
    return f"This video shows {', '.join(most)} and {last}." if most else f"This video shows {last}."


def not_counted(counts: dict[str, int], seen: Iterable[str]) -> str | None:
    """A note on the labels that were seen and are not in `counts`, in that order; None if there are none."""
    unsure = [label for label in seen if label not in counts]
    more = len(unsure) - _MOST_UNSURE
    names = ", ".join(unsure[:_MOST_UNSURE]) + (f" and {more} more" if more > 0 else "")
    return f"Not seen long or surely enough to be counted: {names}." if names else None
