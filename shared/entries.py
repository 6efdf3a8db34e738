"""One model of the catalogue: which files it needs and how it is fed, by model family."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.results import Task

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WeightFile(BaseModel):
    """One file of a model, kept in the weights folder under its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    url: str | None = Field(None, pattern=r"^https://", description="absent: the user's own file")
    size: int | None = Field(None, ge=0, description="bytes")
    sha256: Sha256 | None = None


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
    """A Mask R-CNN: boxes with the outline of each object."""

    family: Literal["mask_rcnn"] = "mask_rcnn"

    @property
    def task(self) -> Task:
        """What the model finds out about an image."""
        return "segmentation"


class ClassifierEntry(ModelEntry):
    """A Keras image classifier: what the picture shows as a whole."""

    family: Literal["classifier"] = "classifier"

    @property
    def task(self) -> Task:
        """What the model finds out about an image."""
        return "classification"


AnyEntry = Annotated[DarknetEntry | MaskRcnnEntry | ClassifierEntry, Field(discriminator="family")]
