"""The record of a training run, `training.json`: what was asked for, what happened, and what came of it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from worker.training.classifiers.config import ClassificationConfig
from worker.training.fit import FittedRun


class BackboneFile(BaseModel):
    """The weights that a backbone began with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str


class ClassificationRun(FittedRun):
    """A run."""

    kind: Literal["classification"] = "classification"
    config: ClassificationConfig
    #: None: from scratch
    start: BackboneFile | None = None
