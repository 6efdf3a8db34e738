"""Which images are for learning, which for choosing the best checkpoint, and which are held out to the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.training.datasets.description import Sample, Split


@dataclass(frozen=True, slots=True)
class Splits:
    """The parts of a data set. Training looks at `train`, chooses by `val`, and never sees `test`."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]


def split_samples(samples: Sequence[Sample], *, val: float, test: float, seed: int) -> Splits:
    """Divide a data set.

    A given split is respected: where some images are marked, only the others, if any, are drawn for. A data set that
    marks a validation but no test part (or the other way round) is measured on the marked part at the end, and the
    part to choose by is drawn from its training images: what was given is never trained on.

    Args:
        samples: all images.
        val: share of the training images for the choice of the best checkpoint.
        test: share of all images held out.
        seed: the same seed and file names give the same split, on any machine and in any order.
    """
    marked: dict[Split, list[Sample]] = {"train": [], "val": [], "test": []}
    free: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: sample.path.as_posix()):
        (free if sample.split is None else marked[sample.split]).append(sample)
    random = np.random.default_rng(seed)
    free = [free[index] for index in random.permutation(len(free))]
    if not marked["test"] and marked["val"]:
        marked["test"], marked["val"] = marked["val"], []
    if not marked["test"]:
        count = round(test * len(free))
        marked["test"], free = free[:count], free[count:]
    marked["train"] += free
    if not marked["val"]:
        order = random.permutation(len(marked["train"]))
        count = round(val * len(order))
        chosen = set(order[:count].tolist())
        marked["val"] = [sample for index, sample in enumerate(marked["train"]) if index in chosen]
        marked["train"] = [sample for index, sample in enumerate(marked["train"]) if index not in chosen]
    ordered = {name: tuple(sorted(part, key=lambda sample: sample.path.as_posix())) for name, part in marked.items()}
    return Splits(ordered["train"], ordered["val"], ordered["test"])
