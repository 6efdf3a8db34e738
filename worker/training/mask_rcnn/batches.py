"""Batches for training: pictures, and of the answers what does not depend on the network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.anchors import make_anchors
from worker.models.mask_rcnn.plan import Plan
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.pictures import augment, masked
from worker.training.mask_rcnn.targets import AnchorTargets, anchor_targets
from worker.training.order import batch_count, made_ahead
from worker.training.pictures import Picture, Source, with_pasted

Floats = NDArray[np.float32]

#: objects of a picture that are learnt from at once, chosen anew each time; a fixed number, so that nothing retraces
MAX_OBJECTS: Final = 24


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and what is on them.

    Args:
        images: float32 (images, rows, columns, 3), less the mean pixel.
        labels: int8 (images, anchors), see `AnchorTargets`.
        deltas: float32 (images, anchors, 4).
        truths: float32 (images, MAX_OBJECTS, 4), true boxes less `plan.far_edge`.
        classes: int64 (images, MAX_OBJECTS), from 1; 0: there is no such object.
        masks: bool (images, MAX_OBJECTS, rows, columns).
    """

    images: Floats
    labels: NDArray[np.int8]
    deltas: Floats
    truths: Floats
    classes: NDArray[np.int64]
    masks: NDArray[np.bool_]


class Batches:
    """The batches of an epoch; the same for the same seed and epoch, whatever ran before.

    Args:
        plan: the network.
        source: the pictures as they are, with masks.
        count: how many there are.
        config: of the run.
    """

    def __init__(self, plan: Plan, source: Source, count: int, config: MaskRcnnConfig) -> None:
        self._plan = plan
        self._source = source
        self._count = count
        self._config = config
        self._canvas = plan.canvas((1, 1))
        self._anchors = np.concatenate(make_anchors(plan, self._canvas))

    def __len__(self) -> int:
        return batch_count(self._count, self._config.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`, each image in one of them."""
        return made_ahead(self._make, self._count, self._config.batch_size, self._config.seed, number)

    def _masked(self, index: int) -> Picture:
        return masked(self._source(index))

    def _make(self, epoch: int, number: int, indices: NDArray[np.int64]) -> Batch:
        size = len(indices)
        images = np.empty((size, *self._canvas, 3), np.float32)
        truths = np.zeros((size, MAX_OBJECTS, 4), np.float32)
        classes = np.zeros((size, MAX_OBJECTS), np.int64)
        masks = np.zeros((size, MAX_OBJECTS, *self._canvas), np.bool_)
        judged: list[AnchorTargets] = []
        for place, index in enumerate(indices):
            random = np.random.default_rng([self._config.seed, epoch, number, place])
            settings = self._config.augmentation
            picture = with_pasted(self._masked, self._count, int(index), settings, random)
            picture = augment(self._plan, picture, settings, random)
            images[place] = picture.pixels - np.asarray(self._plan.mean_pixel, np.float32)
            boxes = true_boxes(self._plan, picture)
            # the anchors know of all objects, so that none is taught to be background
            judged.append(anchor_targets(self._anchors, boxes, self._plan.rpn_scale, self._config.anchors, random))
            chosen = random.permutation(len(boxes))[:MAX_OBJECTS]
            truths[place, : len(chosen)] = boxes[chosen]
            classes[place, : len(chosen)] = picture.class_ids[chosen] + 1
            if picture.masks is not None:
                masks[place, : len(chosen)] = picture.masks[chosen]
        labels, deltas = np.stack([each.labels for each in judged]), np.stack([each.deltas for each in judged])
        return Batch(images, labels, deltas, truths, classes, masks)


def true_boxes(plan: Plan, picture: Picture) -> Floats:
    """The boxes of a picture on the canvas, less `plan.far_edge`."""
    return picture.boxes - np.asarray([0, 0, plan.far_edge, plan.far_edge], np.float32)
