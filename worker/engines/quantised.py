"""The int8 networks that `python -m worker.quantize` installed, in `WEIGHTS_DIR/int8`.

    <sha256 of the recipe's key>.json     what it is, what it was made from, and what it costs in precision
    <sha256 of the content>.xml, .bin     the network in OpenVINO's format

The first is written last and replaced in one step, so that a worker sees the old network or the new one, both whole. As
its name comes from the key, a network of other weights or of another version of the code is never found.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import openvino
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.settings import Settings
from worker.engines.precision import Core, Measured, Precision

logger = logging.getLogger(__name__)

#: an `openvino.Model`
Model: TypeAlias = Any

NAME_LENGTH: Final = 32


class Quantised(BaseModel):
    """An int8 network that passed the gate.

    `key` is that of the network it was made from; it holds the sha256 of the weights and the versions of the code.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    content: str = Field(pattern=r"^[0-9a-f]{32}$", description="name of the .xml and the .bin, by their content")
    model: str = Field(description="name in the catalogue")
    ap_before: float = Field(ge=0, le=1)
    ap_after: float = Field(ge=0, le=1)
    evaluation_images: int = Field(ge=1)
    calibration_images: int = Field(ge=1)
    kept_float: tuple[str, ...] = Field((), description="operations that were not quantised, by choice")
    processor: str = Field(description="where it was measured")
    medians_ms: dict[Precision, float] = Field(description="of one run, by precision")
    made_with: dict[str, str] = Field(description="versions of the libraries")

    @property
    def measured(self) -> Measured:
        """Its speed."""
        return Measured(self.processor, self.medians_ms)


def quantised_folder(settings: Settings) -> Path:
    """Where int8 networks are."""
    return settings.weights_dir / "int8"


def find_quantised(folder: Path, key: str) -> Quantised | None:
    """The int8 form of the network with this key; None if there is none, or none that can be used."""
    path = _document_path(folder, key)
    try:
        found = Quantised.model_validate_json(path.read_bytes())
        if found.key != key:
            raise ValueError(f"is of the network {found.key}")
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, ValueError) as error:
        logger.warning("the int8 model %s is not used: %s", path, error)
        return None
    return found


def read_quantised(core: Core, folder: Path, found: Quantised) -> Model:
    """Read an int8 network, an `openvino.Model`.

    Raises:
        RuntimeError, OSError: its files are damaged or gone.
    """
    model, weights = folder / f"{found.content}.xml", folder / f"{found.content}.bin"
    if _content_name(model, weights) != found.content:
        raise RuntimeError(f"{model} is not what was installed")
    return core.read_model(model, weights)


def install_quantised(folder: Path, model: Model, describe: Callable[[str], Quantised]) -> tuple[Path, Quantised]:
    """Install an int8 network; one of the same key is replaced.

    Args:
        folder: made if it is not there.
        model: an `openvino.Model`.
        describe: makes the document from the name of the content.

    Returns:
        The path of the document, and what it says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=folder) as scratch:
        xml, weights, document = (Path(scratch) / name for name in ("model.xml", "model.bin", "model.json"))
        openvino.serialize(model, xml)
        found = describe(_content_name(xml, weights))
        document.write_text(found.model_dump_json(indent=2) + "\n")
        path = _document_path(folder, found.key)
        before = find_quantised(folder, found.key)
        for source, target in (
            (weights, folder / f"{found.content}.bin"),
            (xml, folder / f"{found.content}.xml"),
            (document, path),
        ):
            source.chmod(0o644)
            with source.open("rb") as file:
                os.fsync(file.fileno())
            source.replace(target)
    if before is not None and before.content != found.content:
        for suffix in (".xml", ".bin"):
            (folder / f"{before.content}{suffix}").unlink(missing_ok=True)
    return path, found


def _document_path(folder: Path, key: str) -> Path:
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:NAME_LENGTH]}.json"


def _content_name(model: Path, weights: Path) -> str:
    digest = hashlib.sha256(model.read_bytes())
    digest.update(weights.read_bytes())
    return digest.hexdigest()[:NAME_LENGTH]
