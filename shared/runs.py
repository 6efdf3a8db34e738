"""A training run as documents: what is asked for, what is told while it goes on, and the record that it leaves.

The same for all kinds of training. The trainer writes them, the page shows them.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

#: what is trained: a classifier, a detector of the YOLOv3 family, a Mask R-CNN
TrainingKind = Literal["classification", "detection", "masks"]
#: epochs of a run that does not say how many
USUAL_EPOCHS: Final[dict[TrainingKind, int]] = {"classification": 30, "detection": 300, "masks": 100}
#: the networks that a classifier may begin with
Backbone = Literal["mobilenet_v2", "resnet50"]
#: why a run ended: all epochs done, or nothing better for `patience` epochs
Ending = Literal["completed", "stopped early"]


class RunRequest(BaseModel):
    """What to train, in the words that all kinds share. None: as the kind of training has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: TrainingKind
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$", description="of the model and its files")
    epochs: int | None = Field(None, ge=1, le=100_000)
    batch_size: int | None = Field(None, ge=1, le=256, description="images of a step")
    size: int | None = Field(None, ge=64, le=1024, multiple_of=32, description="side of the square input in pixels")
    learning_rate: float | None = Field(None, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=1 << 32, description="of split, first weights and augmentation")
    val: float | None = Field(None, ge=0, lt=1, description="share of the training images to choose by")
    test: float | None = Field(None, ge=0, lt=1, description="share of all images that are held out")
    patience: int | None = Field(None, ge=1, description="end when so many epochs brought nothing better")
    start: str | None = Field(None, description="an installed model, of the catalogue, whose weights are gone on from")
    backbone: Backbone | None = Field(None, description="of a classifier")
    classes: tuple[str, ...] | None = Field(None, description="of a classifier: only these of the data set")


class Epoch(BaseModel):
    """What one epoch brought; also what is told while a run goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: counts from 1, over all stages of a run
    epoch: int
    epochs: int
    #: means over the epoch: "loss", and its parts, if it has any
    losses: dict[str, float]
    #: of the part to choose by: of models that find objects "AP", "AP50" ... (`worker.evaluate.METRICS`; of masks
    #: also "mask_AP", "mask_AP50" ...), of classifiers "accuracy", "f1" (mean over the classes), "loss".
    #: None: not measured after this epoch
    metrics: dict[str, float] | None
    learning_rate: float
    seconds: float


class ClassScores(BaseModel):
    """How well one class is told from the others, from 0 to 1, and how many images are truly of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: float
    recall: float
    f1: float
    support: int


class ClassTable(BaseModel):
    """How a classifier did on a part of the data."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[str, ...]
    #: how many images, by true class (row) and the class that was said (column), in the order of `labels`
    confusion: tuple[tuple[int, ...], ...]
    per_class: dict[str, ClassScores]
    accuracy: float


class TrainingRun(BaseModel):
    """The record of a run, `training.json`. Each kind adds what only it has; here that is left unread."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: TrainingKind
    name: str
    labels: tuple[str, ...]
    #: the images of each part, relative to the data set's folder; "also" are those of further data sets
    files: dict[str, tuple[str, ...]]
    history: tuple[Epoch, ...] = ()
    #: the epoch whose weights were kept
    best: Epoch | None = None
    ending: Ending | None = None
    #: the figures of `Epoch.metrics` of the kept weights, on the part that training never saw. None: there is none,
    #: or the run has not ended
    held_out: dict[str, float] | None = None
    #: of a classifier, on the same part
    table: ClassTable | None = None
