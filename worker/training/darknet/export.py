"""The result of a training run: Darknet's files, and the entry that puts them into the catalogue."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from worker.models.darknet.weights import ConvolutionWeights, write_weights
from worker.models.files import file_sha256


def write_model(
    folder: Path, name: str, cfg: str, weights: Iterable[ConvolutionWeights], labels: Sequence[str], *, seen: int
) -> None:
    """Write `name`.cfg, `name`.weights and `name`.names; each is replaced whole or not at all.

    Args:
        folder: where to.
        name: of the model.
        cfg: the text of the `.cfg`.
        weights: of every convolution, in its order.
        labels: the class names.
        seen: the number of images that the network has learnt from.
    """
    for suffix, text in ((".cfg", cfg), (".names", "".join(f"{label}\n" for label in labels))):
        scratch = folder / f"{name}{suffix}.new"
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(folder / f"{name}{suffix}")
    scratch = folder / f"{name}.weights.new"
    write_weights(scratch, weights, seen=seen)
    scratch.replace(folder / f"{name}.weights")


def catalog_entry(folder: Path, name: str, title: str, description: str) -> str:
    """The entry for `weights/catalog.toml`, as text, for the files that `write_model` wrote."""
    lines = [
        f"[models.{json.dumps(name)}]",
        'family = "darknet"',
        f"title = {json.dumps(title)}",
        f"description = {json.dumps(description)}",
        'resize = "letterbox"',
    ]
    for key, suffix in (("config", ".cfg"), ("weights", ".weights"), ("classes", ".names")):
        path = folder / f"{name}{suffix}"
        lines += [
            "",
            f"[models.{json.dumps(name)}.{key}]",
            f"name = {json.dumps(path.name)}",
            f"size = {path.stat().st_size}",
            f'sha256 = "{file_sha256(path)}"',
        ]
    return "\n".join(lines) + "\n"
