"""The record of a training run, `training.json`: what was asked for, what happened, and what came of it."""

from typing import Literal

from pydantic import ConfigDict

from shared.runs import TrainingRun
from worker.training.darknet.config import DetectionConfig


class DetectionRun(TrainingRun):
    """A run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["detection"] = "detection"
    config: DetectionConfig
    #: the `.cfg` as trained
    cfg: str

    def plan_of_it(self) -> dict[str, object]:
        """What must be the same for a run to be resumed."""
        return self.model_dump(mode="json", include={"name", "config", "labels", "cfg", "files"})
