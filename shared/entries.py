"""One model of the catalogue: which files it needs and how it is fed, by model family."""

import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from shared.results import Task

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: pixels
Side = Annotated[float, Field(gt=0, le=8192)]
Ratio = Annotated[float, Field(gt=0, le=100)]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]

#: stands for the rule that picks a model (docs/models.md)
AUTO: Final = "auto"


class WeightFile(BaseModel):
    """One file of a model, kept in the weights folder under its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    url: str | None = Field(None, pattern=r"^https://", description="absent: the user's own file")
    size: int | None = Field(None, ge=0, description="bytes")
    sha256: Sha256 | None = None
    md5: Md5 | None = Field(None, description="where its makers state no better one: it tells damage, not malice")


class ModelEntry(BaseModel):
    """What an entry of any family says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    family: str
    title: str
    description: str = ""
    licence: str = ""
    source: str = Field("", description="the page of the people who made it")
    weights: WeightFile
    classes: WeightFile = Field(description="the labels in the order of the class ids, see `shared.labels`")

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name == AUTO:
            raise ValueError(f"no model can be called {AUTO!r}: it stands for the rule that picks one")
        return name

    @property
    def task(self) -> Task:
        """What the model finds out about an image."""
        return "detection"

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Every file the model needs."""
        return (self.weights, self.classes)

    def missing_files(self, weights_dir: Path) -> list[WeightFile]:
        """The files that are not in `weights_dir` (or there with another size than stated)."""

        def there(file: WeightFile) -> bool:
            try:
                size = (weights_dir / file.name).stat().st_size
            except OSError:
                return False
            return file.size is None or size == file.size

        return [file for file in self.files if not there(file)]

    def fingerprint(self, weights_dir: Path) -> str:
        """Changes with the entry and with its files (SHA-256, hexadecimal): answers of another model are not these.

        A file without a stated sha256 is told apart by its size and its time of change.
        """
        parts = [self.model_dump_json()]
        for file in self.files:
            if file.sha256 is None:
                try:
                    stat = (weights_dir / file.name).stat()
                except OSError:
                    continue
                parts.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class DarknetEntry(ModelEntry):
    """A detector of the YOLOv3 family, from Darknet's files."""

    family: Literal["darknet"] = "darknet"
    config: WeightFile = Field(description="the Darknet .cfg")
    resize: Literal["stretch", "letterbox"] = "letterbox"
    image_size: tuple[int, int] | None = Field(None, description="height, width; None: as the .cfg says")

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Every file the model needs."""
        return (self.config, self.weights, self.classes)


class MaskRcnnEntry(ModelEntry):
    """A Mask R-CNN: boxes with the outline of each object.

    The defaults are those of Matterport's code for COCO. What was changed for training must be said here; a file that
    does not fit is refused.
    """

    family: Literal["mask_rcnn"] = "mask_rcnn"
    layout: Literal["matterport", "detectron2"] = Field(
        "matterport", description="whose file the weights are, and whose ways the network has: .h5 or .pkl"
    )
    backbone: Literal["resnet18", "resnet50", "resnet101", "darknet"] = Field(
        "resnet101", description='"darknet" is that of the small detector of the YOLOv3 family which ships as `person`'
    )
    width: int = Field(64, ge=4, le=256, description="channels of the backbone's first convolution")
    fpn_channels: int = Field(256, ge=4, le=1024, description="TOP_DOWN_PYRAMID_SIZE")
    rpn_channels: int = Field(512, ge=4, le=2048, description="of the region proposal network; 256 in Detectron2")
    head_channels: int = Field(1024, ge=4, le=4096, description="FPN_CLASSIF_FC_LAYERS_SIZE")
    mask_channels: int = Field(256, ge=4, le=1024, description="of the mask head")
    anchor_scales: tuple[Side, Side, Side, Side, Side] = Field(
        (32.0, 64.0, 128.0, 256.0, 512.0), description="RPN_ANCHOR_SCALES: pixels, one for each level of the pyramid"
    )
    anchor_ratios: tuple[Ratio, ...] = Field(
        (0.5, 1.0, 2.0), min_length=1, max_length=32, description="as in the configuration of those who trained it"
    )
    min_side: int = Field(800, ge=1, le=4096, description="IMAGE_MIN_DIM: a photo's short side is enlarged to this,")
    max_side: int = Field(1024, ge=64, le=4096, description="IMAGE_MAX_DIM: but its long side at most to this")
    mean_pixel: tuple[float, float, float] = Field((123.7, 116.8, 103.9), description="red, green, blue, of 255")
    proposals: int = Field(1000, ge=1, le=5000, description="regions that are looked at; fewer are faster")

    @model_validator(mode="after")
    def _canvas_divides(self) -> Self:
        if self.layout == "matterport" and self.max_side % 64:
            raise ValueError("max_side must be a multiple of 64, as the pyramid halves it six times")
        if self.layout == "detectron2" and self.backbone == "darknet":
            raise ValueError('the backbone "darknet" is there in the layout "matterport" alone')
        return self

    @property
    def task(self) -> Task:
        """What the model finds out about an image."""
        return "segmentation"


#: what is done to a pixel's red, green and blue, 0 to 255, before the network sees them: "none": nothing; "unit": to
#: 0 ... 1; "tf": to -1 ... 1; "torch": to 0 ... 1, then ImageNet's mean and deviation; "caffe": blue, green, red, less
#: ImageNet's mean. The last three are the modes of Keras' `preprocess_input`.
Preprocessing = Literal["none", "unit", "tf", "torch", "caffe"]


class ClassifierEntry(ModelEntry):
    """A Keras image classifier: what the picture shows as a whole.

    "saved" is a whole model as Keras saves it (`.keras`, or `.h5` with its architecture); the others are networks of
    `keras.applications`, of which the file has the weights only, for as many classes as there are labels.
    """

    family: Literal["classifier"] = "classifier"
    architecture: Literal["resnet50", "mobilenet_v2", "nasnet_mobile", "saved"]
    image_size: tuple[PositiveInt, PositiveInt] | None = Field(None, description="height, width; of Keras' own: 224")
    preprocessing: Preprocessing | None = Field(None, description="None: as the architecture wants it")
    output: Literal["auto", "logits", "probabilities"] = Field(
        "auto", description="what a saved model gives; auto: by the activation of its last layer"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.architecture == "saved" and (self.image_size is None or self.preprocessing is None):
            raise ValueError("a saved model needs image_size and preprocessing, as it was trained with")
        return self

    @property
    def task(self) -> Task:
        """What the model finds out about an image."""
        return "classification"


AnyEntry = Annotated[DarknetEntry | MaskRcnnEntry | ClassifierEntry, Field(discriminator="family")]
