"""The result of a training run: Darknet's files, and the entry that puts them into the catalogue."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from shared.entries import DarknetEntry, WeightFile
from worker.models.darknet.weights import ConvolutionWeights, write_weights
from worker.training.replacing import replacing


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
        with replacing(folder / f"{name}{suffix}") as scratch:
            scratch.write_text(text, encoding="utf-8")
    with replacing(folder / f"{name}.weights") as scratch:
        write_weights(scratch, weights, seen=seen)


def make_entry(name: str, description: str) -> DarknetEntry:
    """The entry of what `write_model` writes; `description` is for the page."""
    return DarknetEntry(
        name=name,
        title=name,
        description=description,
        resize="letterbox",
        config=WeightFile(name=f"{name}.cfg"),
        weights=WeightFile(name=f"{name}.weights"),
        classes=WeightFile(name=f"{name}.names"),
    )
