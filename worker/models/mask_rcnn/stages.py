"""Both stages for a batch of images: regions, then what they are and which pixels are theirs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engines import Session
from worker.models.mask_rcnn.anchors import make_anchors
from worker.models.mask_rcnn.plan import BOX_POOL, MASK_POOL, Plan, Size
from worker.models.mask_rcnn.proposals import propose
from worker.models.mask_rcnn.roi_align import FeatureMap, pool

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Regions:
    """What the heads say of the regions of a batch of images.

    Args:
        canvas: height and width of the network's input.
        maps: P2 to P5.
        boxes: (N, 4), in pixels of the input, less `plan.far_edge`.
        images: (N,), which image each is of, rising.
        logits: (N, classes).
        deltas: (N, classes, 4).
    """

    canvas: Size
    maps: list[FeatureMap]
    boxes: Floats
    images: Integers
    logits: Floats
    deltas: Floats


class Stages:
    """The three networks and what stands between them.

    Args:
        plan: of the networks.
        trunk: gives the first network for a size of the input; it is made when a photo needs it.
        box_head: the second.
        mask_head: the third.
    """

    def __init__(self, plan: Plan, trunk: Callable[[Size], Session], box_head: Session, mask_head: Session) -> None:
        self._plan = plan
        self._open_trunk = trunk
        self._trunks: dict[Size, tuple[Session, list[Floats]]] = {}
        self._box_head = box_head
        self._mask_head = mask_head

    def find(self, batch: Floats, bounds: Sequence[Floats]) -> Regions:
        """Find regions and say what they are.

        Args:
            batch: float32 (images, height, width, 3), prepared images of one size.
            bounds: for each image where it lies in the input, see `bounds_of`.
        """
        canvas = (batch.shape[1], batch.shape[2])
        trunk, anchors = self.trunk(canvas)
        *maps, logits, deltas = trunk.run(batch)
        if self._plan.layout == "matterport":  # there regions may reach into the black around the photo
            far = self._plan.far_edge
            whole = np.asarray([0, 0, canvas[1] - far, canvas[0] - far], np.float32)
            bounds = [whole] * len(batch)
        proposed = [propose(self._plan, anchors, *each) for each in zip(logits, deltas, bounds, strict=True)]
        boxes = np.concatenate(proposed)
        images = np.repeat(np.arange(len(batch)), [len(each) for each in proposed])
        pooled = pool(self._plan, maps, boxes, images, BOX_POOL, canvas)
        said, corrections = self._box_head.run(pooled)
        return Regions(canvas, maps, boxes, images, said[: len(boxes)], corrections[: len(boxes)])

    def outline(
        self, canvas: Size, maps: list[FeatureMap], boxes: Floats, images: Integers, classes: Integers
    ) -> Floats:
        """The masks of objects: probabilities, float32 (N, 28, 28).

        Args:
            canvas: height and width of the network's input.
            maps: P2 to P5, as `find` returned them.
            boxes: (N, 4), in pixels of the input, less `plan.far_edge`.
            images: (N,), which image each is of.
            classes: (N,), which class's mask is wanted.
        """
        (logits,) = self._mask_head.run(pool(self._plan, maps, boxes, images, MASK_POOL, canvas))
        chosen = logits[np.arange(len(classes)), :, :, classes]
        return np.asarray(0.5 + 0.5 * np.tanh(chosen / 2), np.float32)  # the logistic function, without overflow

    def trunk(self, canvas: Size) -> tuple[Session, list[Floats]]:
        """The first network for inputs of this size, and its anchors."""
        if canvas not in self._trunks:
            self._trunks[canvas] = self._open_trunk(canvas), make_anchors(self._plan, canvas)
        return self._trunks[canvas]
