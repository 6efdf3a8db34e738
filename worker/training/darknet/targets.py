"""From boxes to what each head should say: the assignment of YOLOv3 (arXiv 1804.02767, section 2.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.darknet.plan import Plan
from worker.training.darknet.anchors import shape_iou

Floats = NDArray[np.float32]

#: the boxes of an image that predictions are compared with; the largest ones, if there are more
MAX_TRUTHS: Final = 100


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch of images should give.

    Args:
        truths: float32 (images, MAX_TRUTHS, 4), the boxes as centre x, centre y, width, height in input pixels, filled
            up with zeros.
        heads: one a head: float32 (images, rows, columns, anchors, 5 + classes): the same four numbers, 1 where the
            cell and anchor is responsible for an object and else 0, and 1 for each of its classes.
    """

    truths: Floats
    heads: tuple[Floats, ...]


class TargetEncoder:
    """Assigns boxes to cells and anchors.

    Each object belongs to the anchor, of those of all heads, whose shape is most like its own, in the cell that its
    centre lies in.

    Args:
        plan: the network.
        positive_threshold: anchors whose shape overlaps the object's by more than this are responsible, too. 1: none.
    """

    def __init__(self, plan: Plan, positive_threshold: float = 1.0) -> None:
        self._size = (plan.input.height, plan.input.width)
        self._grids = [(shape.height, shape.width) for _, shape in plan.heads]
        self._classes = plan.classes
        self._positive_threshold = positive_threshold
        self._anchors = np.concatenate([np.asarray(head.anchors, np.float32) for head, _ in plan.heads])
        #: of each anchor its head and its number there
        self._places = [
            (index, number) for index, (head, _) in enumerate(plan.heads) for number in range(len(head.anchors))
        ]

    def encode(self, boxes: Sequence[Floats], class_ids: Sequence[NDArray[np.int64]]) -> Targets:
        """Encode a batch.

        Args:
            boxes: of each image, (N, 4): left, top, right, bottom in input pixels, of some width and height.
            class_ids: of each image, (N,).
        """
        truths = np.zeros((len(boxes), MAX_TRUTHS, 4), np.float32)
        counts = np.bincount([head for head, _ in self._places], minlength=len(self._grids))
        heads = tuple(
            np.zeros((len(boxes), rows, columns, int(count), 5 + self._classes), np.float32)
            for (rows, columns), count in zip(self._grids, counts, strict=True)
        )
        for image, (corners, ids) in enumerate(zip(boxes, class_ids, strict=True)):
            sides = corners[:, 2:] - corners[:, :2]
            centred = np.concatenate([corners[:, :2] + sides / 2, sides], axis=1).astype(np.float32)
            # the largest first: where two objects meet in a cell and anchor, the smaller one, which has no other, stays
            order = np.argsort(-sides.prod(axis=1), kind="stable")
            centred, ids = centred[order], ids[order]
            truths[image, : len(centred)] = centred[:MAX_TRUTHS]
            overlaps = shape_iou(centred[:, 2:], self._anchors)
            for box, class_id, overlap in zip(centred, ids, overlaps, strict=True):
                best = int(overlap.argmax())
                others = np.flatnonzero(overlap > self._positive_threshold)
                for anchor in [*others[others != best], best]:
                    self._assign(heads, image, int(anchor), box, int(class_id))
        return Targets(truths, heads)

    def _assign(self, heads: tuple[Floats, ...], image: int, anchor: int, box: Floats, class_id: int) -> None:
        head, number = self._places[anchor]
        rows, columns = self._grids[head]
        height, width = self._size
        row = min(max(int(box[1] * rows / height), 0), rows - 1)
        column = min(max(int(box[0] * columns / width), 0), columns - 1)
        cell = heads[head][image, row, column, number]
        cell[:] = 0
        cell[:4] = box
        cell[4] = 1
        cell[5 + class_id] = 1
