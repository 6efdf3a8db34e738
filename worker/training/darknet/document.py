"""The record of a training run, `training.json`: what was asked for, what happened, and what came of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from worker.training.darknet.config import DetectionConfig

#: why a run ended: all epochs done, or nothing better for `patience` epochs
Ending = Literal["completed", "stopped early"]


class Epoch(BaseModel):
    """What one epoch brought; also what is told while a run goes on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: counts from 1
    epoch: int
    epochs: int
    #: means over the epoch: "loss", and its parts "box", "objectness", "classes"
    losses: dict[str, float]
    #: of the validation part, as `worker.evaluate.METRICS`; None: not measured after this epoch
    metrics: dict[str, float] | None
    learning_rate: float
    seconds: float


class TrainingRun(BaseModel):
    """A run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    config: DetectionConfig
    labels: tuple[str, ...]
    #: the `.cfg` as trained
    cfg: str
    #: the files of each part, relative to the data set's folder; "also" are those of further data sets
    files: dict[str, tuple[str, ...]]
    history: tuple[Epoch, ...] = ()
    #: the epoch whose weights were kept
    best: Epoch | None = None
    ending: Ending | None = None
    #: of the kept weights on the part that training never saw; None: there is none, or the run has not ended
    held_out: dict[str, float] | None = None

    def plan_of_it(self) -> dict[str, object]:
        """What must be the same for a run to be resumed."""
        return self.model_dump(mode="json", include={"name", "config", "labels", "cfg", "files"})
