"""The record of a training run, `training.json`: what was asked for, what happened, and what came of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.runs import TrainingRun
from worker.training.classifiers.config import ClassificationConfig


class BackboneFile(BaseModel):
    """The weights that a backbone began with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str


class ClassificationRun(TrainingRun):
    """A run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["classification"] = "classification"
    config: ClassificationConfig
    #: None: from scratch
    start: BackboneFile | None = None

    def plan_of_it(self) -> dict[str, object]:
        """What must be the same for a run to be resumed."""
        return self.model_dump(mode="json", include={"name", "config", "labels", "start", "files"})
