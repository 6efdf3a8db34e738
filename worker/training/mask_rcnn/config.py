"""The settings of a training run; stored with its result."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.training.darknet.config import Augmentation

#: "heads": all but the backbone, which keeps its weights and statistics; "all": everything
Part = Literal["heads", "all"]


class Stage(BaseModel):
    """A part of a run, with a learning rate that rises linearly and then falls as a half cosine to 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    part: Part
    epochs: int = Field(ge=1, le=100_000)
    learning_rate: float = Field(1e-3, gt=0, le=1)


class MaskRcnnConfig(BaseModel):
    """How a Mask R-CNN is trained. The numbers of regions are those of arXiv 1703.06870 and 1506.01497."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: with a trained backbone: first the heads, then all; from scratch: all at once
    stages: tuple[Stage, ...] = Field((Stage(part="all", epochs=100),), min_length=1)
    batch_size: int = Field(8, ge=1, le=256)
    seed: int = Field(0, ge=0, lt=1 << 32)
    #: the share of a stage in which the learning rate rises from 0
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0, le=1)
    #: batch normalisation keeps the statistics of the first weights: for batches too small to have their own
    freeze_normalisation: bool = False
    #: anchors of an image that the region proposal network is judged by, at most half of them on objects
    anchors: int = Field(256, ge=2, le=65_536)
    #: regions of an image that the heads are judged by
    regions: int = Field(64, ge=3, le=4096)
    #: the share of regions that are objects, at most
    positive: float = Field(1 / 3, gt=0, lt=1)
    #: proposals of an image that regions are drawn from, beside the true boxes
    proposals: int = Field(300, ge=1, le=5000)
    #: of the running average of the weights that is measured and saved
    ema_decay: float = Field(0.998, ge=0, lt=1)
    #: mosaic is for detectors and does nothing here
    augmentation: Augmentation = Augmentation(mosaic=0, paste=0.5, scale=0.3)
