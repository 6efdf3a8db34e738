"""The catalogue of models, `weights/catalog.toml`: which exist, where their files come from, how they are fed.

Both tiers read it: the web tier to check options and to name the choices, the worker to load. A person adds a
model by dropping files into the weights folder and an entry into the catalogue.
"""

import hashlib
import logging
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import BadInputError, PublicError

log = logging.getLogger(__name__)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WeightFile(BaseModel):
    """One file of a model, kept in the weights folder under its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    url: str | None = Field(None, pattern=r"^https://", description="absent: the user's own file")
    size: int | None = Field(None, ge=0, description="bytes")
    sha256: Sha256 | None = None


class ModelEntry(BaseModel):
    """One model of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    family: Literal["darknet"]
    title: str
    description: str = ""
    licence: str = ""
    source: str = Field("", description="the page of the people who made it")
    config: WeightFile = Field(description="the Darknet .cfg")
    weights: WeightFile
    classes: WeightFile = Field(description="one label a line, in the order of the class ids")
    resize: Literal["stretch", "letterbox"] = "letterbox"
    image_size: tuple[int, int] | None = Field(None, description="height, width; None: as the .cfg says")

    @property
    def files(self) -> tuple[WeightFile, ...]:
        """Every file the model needs."""
        return (self.config, self.weights, self.classes)

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


class Catalog(BaseModel):
    """All models, and the one that is used when nobody asks for another."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    models: dict[str, ModelEntry]

    def __getitem__(self, name: str) -> ModelEntry:
        """The entry called `name`. Raises `BadInputError` ("unknown_model"), naming the choices."""
        try:
            return self.models[name]
        except KeyError:
            choices = ", ".join(sorted(self.models))
            raise BadInputError(
                "unknown_model", f"There is no model called {name!r}. Choose one of: {choices}."
            ) from None


def load_catalog(path: Path, default: str | None = None) -> Catalog:
    """Read and check a catalogue; the same object again for as long as the file does not change.

    Args:
        path: the TOML file: a `default = "name"` and a `[models.<name>]` table a model.
        default: another default than the file's.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not TOML, an entry is not valid, or the default is no entry.
    """
    stat = path.stat()
    return _parse(path, default, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _parse(path: Path, default: str | None, _modified_ns: int, _size: int) -> Catalog:
    # every upload and every heartbeat asks, and parsing takes longer than all else that an upload does
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    models = {name: {"name": name, **table} for name, table in document.get("models", {}).items()}
    catalog = Catalog.model_validate({"default": default or document.get("default", ""), "models": models})
    if catalog.default not in catalog.models:
        raise ValueError(f"the default model {catalog.default!r} is not in {path.name}: {', '.join(sorted(models))}")
    return catalog


class CatalogReader:
    """The catalogue as it is now: a person may edit it while the service runs.

    Args:
        path, default: as for `load_catalog`.
    """

    def __init__(self, path: Path, default: str | None = None) -> None:
        self._path = path
        self._default = default
        self._good: Catalog | None = None

    def read(self) -> Catalog:
        """The catalogue; the last good one while the file cannot be used, for instance half-way through an edit.

        Raises:
            PublicError: "model_broken": there was no good one yet.
        """
        try:
            catalog = load_catalog(self._path, self._default)
        except (OSError, ValueError) as error:
            log.error("the catalogue %s cannot be used: %s", self._path, error)
            if self._good is None:
                raise PublicError("model_broken", "The catalogue of models cannot be read.") from error
            return self._good
        self._good = catalog
        return catalog
