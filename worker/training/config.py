"""The settings that all kinds of training share; stored with the result."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.runs import USUAL_EPOCHS

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]

# what a kind of training may set otherwise; its bounds are the same for all
Epochs = Annotated[int, Field(ge=1, le=100_000)]
#: of a whole, never all of it
Share = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, le=1)]
EpochsBetween = Annotated[int, Field(ge=1)]


class Augmentation(BaseModel):
    """What is done to the training images, each time anew. Probabilities are from 0 to 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: probability of four images in one (arXiv 2004.10934)
    mosaic: float = Field(0.7, ge=0, le=1)
    #: probability of mirroring left and right
    flip: float = Field(0.5, ge=0, le=1)
    #: scaled by a factor from 1 - scale to 1 + scale
    scale: float = Field(0.4, ge=0, lt=1)
    #: moved by up to this share of the image's sides
    translate: float = Field(0.1, ge=0, le=0.5)
    #: largest changes: of the hue in turns of the colour circle, of saturation and brightness as a factor
    hue: float = Field(0.015, ge=0, le=0.5)
    saturation: float = Field(0.6, ge=0, lt=1)
    brightness: float = Field(0.4, ge=0, lt=1)
    #: probability that objects of another image are pasted in, cut out by their masks (arXiv 2012.07177)
    paste: float = Field(0.5, ge=0, le=1)


class RunConfig(BaseModel):
    """How a run goes, whatever network it trains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Epochs = USUAL_EPOCHS["detection"]
    batch_size: int = Field(16, ge=1, le=1024)
    seed: int = Field(0, ge=0, lt=1 << 32)
    #: share of the training images that the best checkpoint is chosen by; a given split is kept
    val: Share = 0.1
    #: share of all images held out to the end; a given split is kept
    test: Share = 0.2
    learning_rate: float = Field(1e-3, gt=0, le=1)
    #: the share of the run in which the learning rate rises from 0
    warmup: Share = 0.03
    weight_decay: Decay = 0.02
    precision: Precision = "float32"
    #: measured every so many epochs, and after the last one
    validate_every: EpochsBetween = 5
    #: ends the run when that many epochs have brought nothing better; None: never
    patience: int | None = Field(None, ge=1)


class FindingConfig(RunConfig):
    """What all networks that find objects are trained with."""

    #: of the running average of the weights that is measured and saved
    ema_decay: float = Field(0.998, ge=0, lt=1)
    augmentation: Augmentation = Augmentation()
