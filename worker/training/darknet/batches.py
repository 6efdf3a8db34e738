"""Batches for training: augmented pictures with their targets."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.training.darknet.augment import Augmenter
from worker.training.darknet.targets import TargetEncoder, Targets
from worker.training.order import batch_count, made_ahead


@dataclass(frozen=True, slots=True)
class Batch:
    """Images, float32 (batch, height, width, 3) from 0 to 1, and what they should give."""

    images: NDArray[np.float32]
    targets: Targets


class Batches:
    """The batches of an epoch; the same for the same seed and epoch, whatever ran before.

    Args:
        augmenter: makes the pictures.
        encoder: makes their targets.
        count: how many training images there are.
        batch_size: every batch has as many, the last one of an epoch is filled up from its beginning.
        seed: of the run.
    """

    def __init__(self, augmenter: Augmenter, encoder: TargetEncoder, count: int, batch_size: int, seed: int) -> None:
        self._augmenter = augmenter
        self._encoder = encoder
        self._count = count
        self._batch_size = batch_size
        self._seed = seed

    def __len__(self) -> int:
        return batch_count(self._count, self._batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, each image in one of them."""
        return made_ahead(self._make, self._count, self._batch_size, self._seed, number)

    def _make(self, epoch: int, number: int, indices: NDArray[np.int64]) -> Batch:
        pictures = [
            self._augmenter.make(int(index), np.random.default_rng([self._seed, epoch, number, place]))
            for place, index in enumerate(indices)
        ]
        images = np.stack([picture.pixels for picture in pictures]).astype(np.float32)
        images *= np.float32(1 / 255)
        targets = self._encoder.encode([each.boxes for each in pictures], [each.class_ids for each in pictures])
        return Batch(images, targets)
