"""The record of a training run, `training.json`: what was asked for, what happened, and what came of it."""

from typing import Literal

from shared.entries import MaskRcnnEntry
from worker.training.fit import FittedRun
from worker.training.mask_rcnn.config import MaskRcnnConfig


class MasksRun(FittedRun):
    """A run."""

    kind: Literal["masks"] = "masks"
    config: MaskRcnnConfig
    #: the network, as trained
    entry: MaskRcnnEntry
