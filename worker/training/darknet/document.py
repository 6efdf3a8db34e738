"""The record of a training run, `training.json`: what was asked for, what happened, and what came of it."""

from typing import Literal

from worker.training.darknet.config import DetectionConfig
from worker.training.fit import FittedRun


class DetectionRun(FittedRun):
    """A run."""

    kind: Literal["detection"] = "detection"
    config: DetectionConfig
    #: the `.cfg` as trained
    cfg: str
