"""What a job is: the request that is queued, the options, the public state, and how its id comes about."""

import hashlib
import json
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.results import SCHEMA_VERSION, ImageResult, Task
from shared.videos import VideoOptions, VideoResult

#: the job function, named by its path: the web tier never imports the worker
JOB_FUNCTION: Final = "worker.pipeline.run"
#: the function of a job that does a part of a video
PART_FUNCTION: Final = "worker.pipeline.run_part"
#: the document that makes a job finished: written last, deleted first
RESULT_DOCUMENT: Final = "result.json"
#: of a running video: a frame of late, drawn
LIVE_FRAME: Final = "live.jpg"
#: the only functions a worker runs, whatever stands in Redis
ALLOWED_FUNCTIONS: Final = frozenset({JOB_FUNCTION, PART_FUNCTION})

JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Kind = Literal["image", "video"]
Result = Annotated[ImageResult | VideoResult, Field(discriminator="kind")]


def new_job_id() -> str:
    """128 random bits as 32 hexadecimal digits: whoever knows the id may see the job, so nobody can guess it.

    Hexadecimal, so that ids stay apart on file systems that do not tell capitals from small letters.
    """
    return secrets.token_hex(16)


class JobOptions(BaseModel):
    """How a model's answers are filtered and explained. Which options count depends on the model's task."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: float = Field(0.25, ge=0, le=1, description="only detections of a higher score")
    iou: float = Field(0.45, ge=0, le=1, description="NMS: boxes of a class that overlap more than this are one")
    max_detections: int = Field(100, ge=1, le=1000, description="at most so many, the best")
    top: int = Field(3, ge=1, le=100, description="classifiers: so many classes, the best")
    explain: bool = Field(False, description="classifiers: a heat map of what speaks for the class (Grad-CAM)")
    explain_class: str = Field("", max_length=200, description="label of the class to explain; empty: the best")

    def of_task(self, task: Task) -> dict[str, float | int | str | bool]:
        """Those that count for a task: two jobs that differ in others give the same."""
        return self.model_dump(include=set(OPTIONS_OF_TASK[task]))


OPTIONS_OF_TASK: Final[dict[Task, tuple[str, ...]]] = {
    "detection": ("score", "iou", "max_detections"),
    "segmentation": ("score", "iou", "max_detections"),
    "classification": ("top", "explain", "explain_class"),
}


class InputFile(BaseModel):
    """An uploaded file as it lies in storage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    filename: str = Field(description="as the client called it: shown, never used as a path")
    content_type: str = Field(description="found out from the content")
    bytes: int
    sha256: str


class Priority(StrEnum):
    """What is done first."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class JobRequest(BaseModel):
    """All that a worker needs to know: names, keys and options, never pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: JobId
    input: InputFile
    model: str
    options: JobOptions
    video: VideoOptions | None = Field(None, description="given if the input is a video")
    cache_key: str
    created_at: datetime
    priority: Priority = Priority.INTERACTIVE
    deadline: datetime | None = Field(None, description="not finished by then, it fails as `expired`")
    webhook: str | None = Field(None, description="URL that its end is told to")
    owner: str | None = Field(None, description="name of the API key that brought it; none where no keys are asked for")
    request_id: str | None = Field(None, description="of the request that brought it, for the log")

    @property
    def kind(self) -> Kind:
        """What the input is."""
        return "image" if self.video is None else "video"

    @property
    def video_options(self) -> VideoOptions:
        """Those of a video. Raises `ValueError` for a photo."""
        if self.video is None:
            raise ValueError("the input is no video")
        return self.video


class PartRequest(BaseModel):
    """A part of a video, as it is queued. What there is to do stands in the video's own request and plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    video: JobId
    number: int
    deadline: datetime | None = Field(None, description="the video's")
    request_id: str | None = None


def cache_key(
    content_sha256: str,
    model_fingerprint: str,
    task: Task,
    options: JobOptions,
    owner: str | None = None,
    video: VideoOptions | None = None,
) -> str:
    """The same bytes, model, options, owner and form of result give the same key (SHA-256, hexadecimal)."""
    parts: list[object] = [SCHEMA_VERSION, content_sha256, model_fingerprint, options.of_task(task)]
    if owner is not None:  # nobody learns from a quick answer what another has sent
        parts.append(owner)
    if video is not None:
        parts.append(video.that_count())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class JobState(StrEnum):
    """The public states."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether the job will not change any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


Phase = Literal["fetch", "decode", "load", "preprocess", "inference", "postprocess", "draw", "join", "store"]
#: those of a photo; "load" only of one whose model was not in memory. A video has "fetch", "decode" (it is looked
#: through), "load" likewise, "inference" (all that is done with frames), "join" and "store".
PHASES: Final[tuple[Phase, ...]] = (
    "fetch",
    "decode",
    "load",
    "preprocess",
    "inference",
    "postprocess",
    "draw",
    "store",
)


#: what is said of a job among others that was deleted meanwhile
GONE: Final = "gone"


class PartsProgress(BaseModel):
    """How far the parts of a video are that was split."""

    done: int
    running: int
    total: int
    percents: list[int] = Field(description="of each part, in their order")


class Progress(BaseModel):
    """What a running job is doing. All but the first two only of videos."""

    phase: Phase
    percent: int = Field(ge=0, le=100)
    frames: int | None = Field(None, description="looked at so far")
    fps: float | None = Field(None, description="frames a second now, by all workers together")
    seconds_left: float | None = None
    parts: PartsProgress | None = Field(None, description="null if the video is not split")
    live: int | None = Field(None, description="changes with each new picture behind the link `live`; null: none yet")


class ErrorInfo(BaseModel):
    """Why a job failed, or a request was refused."""

    code: str
    message: str


class Links(BaseModel):
    """Where the parts of a job are, as paths on this server."""

    self: str
    view: str
    events: str
    image: str | None = Field(None, description="the drawn image; of a video the frame with most objects")
    thumbnail: str | None = None
    video: str | None = Field(None, description="the drawn video, if one was asked for")
    preview: str | None = Field(None, description="of a video: a short animation, WebP")
    frames: str | None = Field(None, description="of a video: what is in each frame, as JSON Lines")
    csv: str | None = Field(None, description="of a video: a line for each detection")
    live: str | None = Field(None, description="of a running video: a frame of late; see `progress.live`")
    original: str | None = Field(None, description="the upload, where browsers can show its type")
    result: str | None = Field(None, serialization_alias="json")
    heatmap: str | None = Field(None, description="of a classifier: what speaks for the class that is explained")
    instances: str | None = Field(None, description="masks: an image of the objects' numbers")
    masks: str | None = Field(None, description="masks: a ZIP of an image for each object")
    coco: str | None = Field(None, description="masks: COCO annotations")


class JobSummary(BaseModel):
    """A job as lists show it."""

    model_config = ConfigDict(from_attributes=True)

    id: JobId
    kind: Kind = "image"
    state: JobState
    filename: str
    model: str
    options: JobOptions
    video_options: VideoOptions | None = None
    position: int | None = Field(None, description="1 for the next in the queue; null once it is not waiting")
    progress: Progress | None = None
    priority: Priority = Priority.INTERACTIVE
    deadline: datetime | None = Field(None, description="if it is not finished by then, it fails as `expired`")
    attempts: int = Field(0, description="attempts that failed for a fault of the service and were made again")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    error: ErrorInfo | None = None
    links: Links


class JobView(JobSummary):
    """A job with its result."""

    result: Result | None = None
    colours: dict[str, str] = Field(default_factory=dict, description="label -> #rrggbb, as in the drawn image")
    nouns: dict[str, str] = Field(
        default_factory=dict,
        description='label -> what its count is said with, for instance "people" for 4 of "person"',
    )


def input_key(job_id: str, ending: str) -> str:
    """Where an upload lies in storage."""
    return f"inputs/{job_id}{ending}"


def result_prefix(job_id: str) -> str:
    """What the names of all objects of a job's result begin with."""
    return f"results/{job_id}/"


def parts_prefix(job_id: str) -> str:
    """What the names of all objects begin with that a running video has."""
    return f"parts/{job_id}/"


def parts_key(job_id: str, name: str) -> str:
    """Where an object of a running video lies in storage."""
    return f"{parts_prefix(job_id)}{name}"


def result_key(job_id: str, name: str) -> str:
    """Where an artifact of a job's result lies in storage."""
    return f"{result_prefix(job_id)}{name}"
