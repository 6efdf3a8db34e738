"""The settings of a training run; stored with its result."""

from typing import Literal

from pydantic import Field

from worker.training.config import FindingConfig

BoxLoss = Literal["squared", "ciou"]


class DetectionConfig(FindingConfig):
    """How a detector of the YOLOv3 family is trained."""

    #: height and width of the input, each a multiple of the largest stride; None: as the cfg says
    image_size: tuple[int, int] | None = None
    #: "squared" is YOLOv3's own; "ciou" that of arXiv 1911.08287
    box_loss: BoxLoss = "ciou"
    #: a prediction that overlaps an object by more is not taught to be background, though another one is responsible
    ignore_threshold: float = Field(0.6, gt=0, le=1)
    #: an anchor whose shape overlaps that of an object by more is responsible, too; 1: only the best one, as in YOLOv3
    positive_threshold: float = Field(1.0, gt=0, le=1)
    #: anchors from the training boxes; without: those of the cfg
    own_anchors: bool = True
