"""The documents of a live stream: what is asked for, what is told while it runs, and the summary in the end.

`result.json` of a stream is a `StreamResult`. While it runs, `state.json` beside it has a `StreamState`, from which
another attempt goes on when a process dies.
"""

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.jobs import ErrorInfo, JobId, JobOptions, JobState, result_key
from shared.results import SCHEMA_VERSION, ModelUsed
from shared.videos import LineCounts, Share, Timeline, ZoneCorners, ZoneCounts

#: the job function, named by its path
STREAM_FUNCTION: Final = "worker.streams.job.run"
#: the only functions a streamer runs
STREAM_FUNCTIONS: Final = frozenset({STREAM_FUNCTION})

#: names of objects in storage, below the prefix of the job's result
STATE_DOCUMENT: Final = "state.json"
LATEST_FRAME: Final = "latest.jpg"

#: events that documents hold: the newest
EVENTS_KEPT: Final = 200
#: of them, those that are told while it runs
EVENTS_TOLD: Final = 20


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StreamOptions(_Document):
    """What is looked at and what is counted."""

    fps: float = Field(10, gt=0, le=60, description="at most so many frames a second are looked at")
    max_side: int = Field(1280, ge=64, le=4096, description="longest side of the drawn frames in pixels")
    seconds: int | None = Field(None, ge=1, description="it ends by itself after so long; at most MAX_STREAM_SECONDS")
    line: tuple[Share, Share, Share, Share] | None = Field(
        None, description="x1, y1, x2, y2: who crosses it is counted, by direction"
    )
    zone: ZoneCorners | None = Field(None, description="corners of a polygon: who is inside is counted")


class StreamRequest(_Document):
    """All that a streamer needs to know but the URL, which may hold a password and lies apart."""

    id: JobId
    url: str = Field(description="without user, password and query")
    model: str
    options: JobOptions
    stream: StreamOptions
    created_at: datetime
    owner: str | None = None
    request_id: str | None = None


EventKind = Literal["appeared", "disappeared", "crossed", "entered", "left", "connected", "lost"]


class StreamEvent(_Document):
    """Something happened."""

    time: datetime
    kind: EventKind
    label: str = ""
    track_id: int | None = None
    direction: Literal["right", "left"] | None = Field(None, description="crossed: as in the line's counts")
    seconds: float | None = Field(None, description="disappeared: for how long it was to be seen")
    message: str = Field("", description="lost: why")


class StreamSegment(_Document):
    """A piece of drawn video."""

    number: int = Field(ge=1)
    started_at: datetime
    seconds: float
    bytes: int
    frames: int

    @property
    def name(self) -> str:
        """Of its object."""
        return segment_name(self.number)


class StreamCounts(_Document):
    """What was counted since the beginning."""

    counts: dict[str, int] = Field({}, description="different objects per label, most frequent first")
    line: LineCounts | None = None
    zone: ZoneCounts | None = None


class StreamState(_Document):
    """All that another attempt needs to go on."""

    started_at: datetime
    frames: int = Field(0, description="frames looked at")
    connections: int = Field(0, description="times that the stream was connected to")
    tracks: int = Field(0, description="numbers of tracks that were given")
    totals: StreamCounts = StreamCounts()
    timeline: Timeline | None = None
    events: list[StreamEvent] = Field([], description="the newest, oldest first")
    segments: list[StreamSegment] = Field([], description="those that are kept")
    last_segment: int = Field(0, description="number of the newest one, kept or not")
    model: ModelUsed | None = None
    size: tuple[int, int] | None = Field(None, description="width, height")


StreamPhase = Literal["connecting", "running", "reconnecting"]


class StreamProgress(_Document):
    """What a running stream is doing, as it is told at most once a second."""

    phase: StreamPhase
    fps: float = Field(0, description="frames a second that are looked at, lately")
    seconds: float = Field(0, description="since it was started")
    limit: int = Field(description="seconds after which it ends by itself")
    frames: int = 0
    dropped: int = Field(0, description="frames that came while the model was busy, by this attempt")
    now: dict[str, int] = Field({}, description="objects in the newest frame per label")
    totals: StreamCounts = StreamCounts()
    events: list[StreamEvent] = Field([], description="the newest, oldest first")
    segments: int = Field(0, description="number of the newest segment")
    message: str = Field("", description="reconnecting: why")


class StreamResult(_Document):
    """The summary of a stream that has ended."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["stream"] = "stream"
    id: str
    url: str
    created_at: datetime
    started_at: datetime
    finished_at: datetime
    reason: Literal["stopped", "limit", "ended"] = Field(description="why it ended")
    model: ModelUsed | None = Field(None, description="none if it was stopped before there was a frame")
    options: dict[str, float | int | str | bool]
    stream_options: StreamOptions
    width: int | None = None
    height: int | None = None
    seconds: float
    frames: int
    connections: int
    text: str = Field(description="a plain sentence")
    totals: StreamCounts
    timeline: Timeline | None = None
    events: list[StreamEvent]
    segments: list[StreamSegment]

    def to_json(self) -> bytes:
        """The document as UTF-8 JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()


class StreamLinks(BaseModel):
    """Where its parts are, as paths on this server."""

    self: str
    events: str
    latest: str
    live: str


class StreamSummary(BaseModel):
    """A stream as lists show it."""

    id: JobId
    state: JobState
    url: str
    model: str
    options: JobOptions
    stream: StreamOptions
    progress: StreamProgress | None = None
    stopping: bool = Field(False, description="it was told to end")
    attempts: int = 0
    position: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    error: ErrorInfo | None = None
    links: StreamLinks
    colours: dict[str, str] = Field({}, description="label -> #rrggbb, as drawn")
    nouns: dict[str, tuple[str, str]] = Field(
        {}, description='label -> what its count is said with if it is 1, and else: "person" and "people"'
    )


class StreamView(StreamSummary):
    """A stream with what was seen."""

    segments: list[StreamSegment] = []
    events: list[StreamEvent] = []
    result: StreamResult | None = None


def segment_name(number: int) -> str:
    """Name of a segment's object."""
    return f"segment-{number:08d}.mp4"


def segment_key(job_id: str, number: int) -> str:
    """Where a segment lies in storage."""
    return result_key(job_id, segment_name(number))
