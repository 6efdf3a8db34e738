"""From a data set to what a classifier is trained and measured on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.training.classifiers.config import ClassificationConfig
from worker.training.datasets.description import Dataset, Sample, Split
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.split import Splits, split_samples
from worker.training.parts import TrainingData

#: pixels: a box that is smaller shows too little
MIN_BOX: Final = 16


def divide(dataset: Dataset, classes: Sequence[str] | None, config: ClassificationConfig) -> TrainingData:
    """Split a data set.

    Where it has boxes, each of them is a picture of its own, and those of one photo stay together, as they are alike.
    The images of each class are split by themselves, those of several classes with the rarest one's, so that as far as
    possible all classes are in all parts.

    Args:
        dataset: with a class for each image, or with boxes.
        classes: the classes to tell apart, of those of the data set; None: all that it has pictures of.
        config: shares and seed.

    Returns:
        Samples of one class each, its index in `labels`. Those that have a box are cut out of their photo; their names
        say the box, too.

    Raises:
        DatasetError: a class is not in the data set, or there are not two classes to learn.
    """
    name = dataset.root.name
    samples = dataset.samples if dataset.kind == "classification" else [*map(_without_small, dataset.samples)]
    counts = Counter(int(each) for sample in samples for each in sample.class_ids[~sample.crowd])
    labels = tuple(classes) if classes else tuple(dataset.labels[index] for index in sorted(counts))
    if unknown := sorted(set(labels) - {dataset.labels[index] for index in counts}):
        raise DatasetError(f"{name} has no picture of {', '.join(unknown)}")
    ids = {dataset.labels.index(label): index for index, label in enumerate(labels)}
    groups: dict[int, list[Sample]] = {class_id: [] for class_id in ids}
    for sample in samples:
        if wanted := {int(each) for each in sample.class_ids[~sample.crowd]} & ids.keys():
            groups[min(wanted, key=lambda class_id: counts[class_id])].append(sample)
    parts = [split_samples(group, val=config.val, test=config.test, seed=config.seed) for group in groups.values()]

    def pictures(which: Split) -> tuple[Sample, ...]:
        return tuple(picture for part in parts for sample in getattr(part, which) for picture in _pictures(sample, ids))

    splits = Splits(pictures("train"), pictures("val"), pictures("test"))
    if len({int(picture.class_ids[0]) for picture in splits.train}) < 2:
        raise DatasetError(f"{name} has fewer than two classes to learn: nothing to tell apart")
    named = {"train": splits.train, "val": splits.val, "test": splits.test}
    files = {which: tuple(_name(dataset, picture) for picture in part) for which, part in named.items()}
    return TrainingData(labels, splits, (), files)


def class_weights(class_ids: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """How much an image of each class counts: so that each class counts the same, and an image 1 in the mean.

    Args:
        class_ids: of all training images.
        classes: how many there are. One without images counts nothing.

    Returns:
        float32 (classes,).
    """
    counts = np.bincount(class_ids, minlength=classes)
    there = counts > 0
    weights = np.zeros(classes, np.float32)
    weights[there] = len(class_ids) / (there.sum() * counts[there])
    return weights


def _without_small(sample: Sample) -> Sample:
    """The small ones are marked, not taken out: the others keep their numbers."""
    small = (sample.boxes[:, 2:] - sample.boxes[:, :2] < MIN_BOX).any(axis=1)
    return replace(sample, crowd=sample.crowd | small)


def _pictures(sample: Sample, ids: dict[int, int]) -> Iterator[Sample]:
    """A sample for each picture in `sample` that is of one of the classes, by their new numbers."""
    for index, (class_id, crowd) in enumerate(zip(sample.class_ids.tolist(), sample.crowd.tolist(), strict=True)):
        if not crowd and class_id in ids:
            yield replace(
                sample,
                boxes=sample.boxes[index : index + 1],
                class_ids=np.asarray([ids[class_id]], np.int64),
                crowd=sample.crowd[index : index + 1],
                masks=None,
            )


def _name(dataset: Dataset, picture: Sample) -> str:
    path = picture.path
    name = path.relative_to(dataset.root).as_posix() if path.is_relative_to(dataset.root) else path.as_posix()
    box = ",".join(f"{side:g}" for side in picture.boxes.ravel().tolist())
    return f"{name}#{box}" if box else name
