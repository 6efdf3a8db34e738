"""The result of a training run: a saved model, its class names, and the entry for the catalogue. Imports Keras."""

import json
from collections.abc import Sequence
from pathlib import Path

from shared.entries import ClassifierEntry, WeightFile
from worker.engines import KerasModel
from worker.models.classifiers.model import PREPROCESSING
from worker.training.classifiers.config import ClassificationConfig
from worker.training.replacing import replacing


def write_model(folder: Path, name: str, network: KerasModel, labels: Sequence[str]) -> None:
    """Write `name`.keras and `name`.json, the class names; each is replaced whole or not at all.

    Args:
        folder: where to.
        name: of the model.
        network: gives probabilities.
        labels: the class names.
    """
    with replacing(folder / f"{name}.json") as scratch:
        scratch.write_text(json.dumps(list(labels), ensure_ascii=False), encoding="utf-8")
    with replacing(folder / f"{name}.keras") as scratch:
        network.save(scratch)


def make_entry(name: str, config: ClassificationConfig, labels: Sequence[str], images: int) -> ClassifierEntry:
    """The entry of what `write_model` writes.

    Args:
        name: of the model.
        config: how it was trained.
        labels: its classes.
        images: how many it has learnt from.
    """
    return ClassifierEntry(
        name=name,
        title=name,
        description=f"Trained on {images} pictures to tell apart: {', '.join(labels[:10])}.",
        architecture="saved",
        image_size=config.image_size,
        preprocessing=PREPROCESSING[config.backbone],
        output="probabilities",
        weights=WeightFile(name=f"{name}.keras"),
        classes=WeightFile(name=f"{name}.json"),
    )
