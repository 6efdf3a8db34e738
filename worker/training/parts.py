"""From data sets to what a network is trained and measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from worker.training.config import RunConfig
from worker.training.datasets.description import Dataset, Sample
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.split import Splits, split_samples


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The parts of all data sets.

    Args:
        labels: of the first data set.
        splits: of the first data set.
        also: images of further data sets, all to be trained on.
        files: names of all images by part, for the record.
    """

    labels: tuple[str, ...]
    splits: Splits
    also: tuple[Sample, ...]
    files: dict[str, tuple[str, ...]]

    @property
    def train(self) -> tuple[Sample, ...]:
        """All training images."""
        return self.splits.train + self.also


def divide(dataset: Dataset, also: Sequence[Dataset], config: RunConfig) -> TrainingData:
    """Split the first data set; of the others, take the objects of the same names, and all images.

    Raises:
        DatasetError: nothing is left to train on.
    """
    if dataset.kind == "classification":
        raise DatasetError("a data set without boxes cannot train a detector")
    splits = split_samples(dataset.samples, val=config.val, test=config.test, seed=config.seed)
    extra = tuple(sample for other in also for sample in _renamed(other, dataset.labels))
    if not any(len(sample.boxes) for sample in splits.train + extra):
        raise DatasetError("no training image has an object")
    files = {
        "train": _names(splits.train, dataset.root),
        "val": _names(splits.val, dataset.root),
        "test": _names(splits.test, dataset.root),
        "also": tuple(name for other in also for name in _names(other.samples, other.root)),
    }
    return TrainingData(dataset.labels, splits, extra, files)


def _names(samples: Sequence[Sample], root: Path) -> tuple[str, ...]:
    return tuple(sample.path.relative_to(root).as_posix() for sample in samples)


def _renamed(dataset: Dataset, labels: tuple[str, ...]) -> list[Sample]:
    """The samples with the class ids of `labels`; objects of other classes are background."""
    ids = np.asarray([labels.index(label) if label in labels else -1 for label in dataset.labels], np.int64)
    return [_only(sample, ids[sample.class_ids]) for sample in dataset.samples]


def _only(sample: Sample, class_ids: NDArray[np.int64]) -> Sample:
    kept = class_ids >= 0
    reader = sample.masks
    return replace(
        sample,
        boxes=sample.boxes[kept],
        class_ids=class_ids[kept],
        crowd=sample.crowd[kept],
        masks=None if reader is None else lambda: reader()[kept],
    )
