"""What a training job is: the request that is queued, its data, the public state, and where its files lie."""

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.jobs import ErrorInfo, JobId, JobState
from shared.runs import Epoch, RunRequest, TrainingRun

#: the job function, named by its path
TRAINING_FUNCTION: Final = "worker.trainer.job.run"
#: the only functions that a trainer runs
TRAINING_FUNCTIONS: Final = frozenset({TRAINING_FUNCTION})
#: the document that makes a training finished: written last, deleted first
RESULT_DOCUMENT: Final = "result.json"
#: what is wrong with the data, file by file: `worker.training.datasets.check.DatasetReport`
REPORT_DOCUMENT: Final = "report.json"

#: below them lies what is kept until somebody deletes it
DATASETS: Final = "datasets/"
TRAININGS: Final = "trainings/"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class StoredDataset(BaseModel):
    """A data set in storage: a zip file that was uploaded, or a folder that an operator has put there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="what `dataset=` calls it: the SHA-256 of the zip file, or the folder's name")
    key: str = Field(description="of the zip file; of a folder its prefix, which ends with a slash")
    filename: str = Field(description="as the client called it: shown, never used as a path")
    bytes: int | None = Field(None, description="of the zip file")
    created_at: datetime | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is an operator's folder."""
        return self.key.endswith("/")


class TrainingRequest(BaseModel):
    """All that a trainer needs to know: names, keys and options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: JobId
    run: RunRequest
    data: StoredDataset
    check_only: bool = Field(False, description="look through the data, and no more")
    created_at: datetime
    owner: str | None = Field(None, description="name of the API key that brought it")
    request_id: str | None = Field(None, description="of the request that brought it, for the log")


Stage = Literal["fetch", "check", "train", "publish"]


class TrainingProgress(BaseModel):
    """What a running training is doing."""

    stage: Stage
    epoch: int = 0
    epochs: int | None = None
    seconds_left: float | None = Field(None, description="of the epochs; the measuring at the end is not in it")
    best: Epoch | None = Field(None, description="the epoch whose weights are kept so far")
    history: tuple[Epoch, ...] = ()
    resumed: int = Field(0, description="the epoch after which this attempt has gone on")
    checked: bool = Field(False, description="whether there is a report on the data")
    notes: tuple[str, ...] = Field((), description="what the training warns of")


class TrainingResult(BaseModel):
    """`result.json` of a training that has finished."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: Literal[1] = 1
    request: TrainingRequest
    run: TrainingRun | None = Field(None, description="none if only the data were looked at")
    images: dict[str, int] = Field(default_factory=dict, description="how many are in each part of the data")
    notes: tuple[str, ...] = Field((), description="what the training warned of")
    device: str = Field("", description="what it was computed on")
    started_at: datetime
    finished_at: datetime


class TrainingFile(BaseModel):
    """A file to download."""

    name: str
    bytes: int
    url: str


class TrainingLinks(BaseModel):
    """Where the parts of a training are, as paths on this server."""

    self: str
    view: str
    events: str
    report: str | None = Field(None, description="what is wrong with the data, file by file")
    use: str | None = Field(None, description="the start page, with the model chosen")


class TrainingSummary(BaseModel):
    """A training as lists show it."""

    id: JobId
    state: JobState
    run: RunRequest
    data: StoredDataset
    check_only: bool
    position: int | None = Field(None, description="1 for the next; null once it is not waiting")
    attempts: int = Field(0, description="attempts that failed for a fault of the service and were made again")
    owner: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorInfo | None = None
    in_use: bool = Field(False, description="whether its model is among those that can be chosen")
    links: TrainingLinks


class TrainingView(TrainingSummary):
    """A training with what it has brought."""

    progress: TrainingProgress | None = None
    result: TrainingResult | None = None
    files: list[TrainingFile] = Field(
        default_factory=list, description="of one that has ended: the model, `training.json`, and what it goes on from"
    )


def training_prefix(training_id: str) -> str:
    """What the names of all objects of a training begin with."""
    return f"{TRAININGS}{training_id}/"


def training_key(training_id: str, name: str) -> str:
    """Where a document of a training lies."""
    return f"{training_prefix(training_id)}{name}"


def run_prefix(training_id: str) -> str:
    """What the names of the files of its run begin with."""
    return f"{training_prefix(training_id)}files/"


def dataset_document(sha256: str) -> str:
    """Where it is written which zip file has these bytes."""
    return f"{DATASETS}{sha256}.json"


def dataset_key(random_id: str) -> str:
    """Where a zip file lies. Its hash is known only when all of it has been written."""
    return f"{DATASETS}{random_id}.zip"


def folder_prefix(name: str) -> str:
    """What the names of all objects of an operator's folder begin with."""
    return f"{DATASETS}{name}/"
