"""The settings of a training run; stored with its result."""

from typing import Literal

from pydantic import Field

from shared.runs import USUAL_EPOCHS
from worker.training.config import Augmentation, Decay, Epochs, FindingConfig, Share

#: "heads": all but the backbone, which keeps its weights and statistics; "all": everything
Part = Literal["heads", "all"]


class MaskRcnnConfig(FindingConfig):
    """How a Mask R-CNN is trained. The numbers of regions are those of arXiv 1703.06870 and 1506.01497."""

    epochs: Epochs = USUAL_EPOCHS["masks"]
    batch_size: int = Field(8, ge=1, le=256)
    #: of `epochs`, the first so many teach all but the backbone; for a backbone with weights. Each of the two parts has
    #: a learning rate that rises linearly and then falls as a half cosine to 0
    heads_epochs: int = Field(0, ge=0)
    warmup: Share = 0.05
    weight_decay: Decay = 0.01
    #: batch normalisation keeps the statistics of the first weights: for batches too small to have their own
    freeze_normalisation: bool = False
    #: anchors of an image that the region proposal network is judged by, at most half of them on objects
    anchors: int = Field(256, ge=2, le=65_536)
    #: regions of an image that the heads are judged by
    regions: int = Field(48, ge=3, le=4096)
    #: the share of regions that are objects, at most
    positive: float = Field(1 / 3, gt=0, lt=1)
    #: proposals of an image that regions are drawn from, beside the true boxes
    proposals: int = Field(300, ge=1, le=5000)
    #: mosaic is for detectors and does nothing here
    augmentation: Augmentation = Augmentation(mosaic=0, scale=0.35)

    def part_of(self, epoch: int) -> Part:
        """What epoch `epoch`, from 1, teaches."""
        return "heads" if epoch <= self.heads_epochs else "all"

    def epochs_of(self, part: Part) -> int:
        """How many epochs teach that part."""
        heads = min(self.heads_epochs, self.epochs)
        return heads if part == "heads" else self.epochs - heads
