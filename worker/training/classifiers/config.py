"""The settings of a training run; stored with its result."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.runs import USUAL_EPOCHS, Backbone
from worker.training.config import Decay, Epochs, EpochsBetween, RunConfig, Share

#: pixels; the backbones halve their input five times
Side = Annotated[int, Field(ge=32, le=1024, multiple_of=32)]


class PhotoAugmentation(BaseModel):
    """What is done to the training pictures by Keras' layers, each time anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: mirrored left and right, half of them
    flip: bool = True
    #: turned by up to so many turns, either way
    rotation: float = Field(0.04, ge=0, le=0.5)
    #: enlarged or shrunk by up to this share
    zoom: float = Field(0.15, ge=0, lt=1)
    #: brighter or darker by up to this share of the whole range
    brightness: float = Field(0.15, ge=0, le=1)
    #: slanted by up to this share of the sides, both ways
    shear: float = Field(0.05, ge=0, le=1)


class ClassificationConfig(RunConfig):
    """How a classifier is trained."""

    backbone: Backbone = "mobilenet_v2"
    #: height and width of the input
    image_size: tuple[Side, Side] = (224, 224)
    epochs: Epochs = USUAL_EPOCHS["classification"]
    val: Share = 0.15
    #: from weights of other pictures: in this share of the epochs the backbone is frozen, only the last layer learns
    frozen: float = Field(0.4, ge=0, le=1)
    #: then this share of the backbone's layers, the last ones, learns with it
    unfrozen: float = Field(0.4, ge=0, le=1)
    #: the learning rate while the backbone's weights of other pictures learn, too, is so many times `learning_rate`
    fine_tuning: float = Field(0.1, gt=0, le=1)
    warmup: Share = 0.05
    weight_decay: Decay = 0.01
    #: share of the values before the last layer that are left out at random
    dropout: Share = 0.2
    #: the wanted probability of the true class is by this much less than 1 (arXiv 1512.00567, section 7)
    label_smoothing: Share = 0.1
    #: images of rare classes count for more, so that all classes count the same
    class_weights: bool = True
    validate_every: EpochsBetween = 1
    augmentation: PhotoAugmentation = PhotoAugmentation()
