"""The loss of YOLOv3 (arXiv 1804.02767, section 2; Darknet's code where the paper is silent), in `keras.ops`.

For the cell and anchor responsible for an object:

    box       "squared": (2 - area / input area) / 2 * sum of squared errors of logistic(tx), logistic(ty), tw, th
              "ciou": CIOU_WEIGHT * (1 - CIoU), arXiv 1911.08287
    class     binary cross-entropy of each class

and binary cross-entropy of the objectness for all, but those that are not responsible for an object and whose predicted
box overlaps one by more than the ignore threshold. All summed over an image and averaged over the batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from keras import ops

from worker.models.darknet.cfg import Yolo
from worker.models.darknet.plan import Plan
from worker.training.darknet.config import BoxLoss

#: of the backend; Keras comes without types
Tensor: TypeAlias = Any

#: what a box far off costs beside the objectness
CIOU_WEIGHT: Final = 3.0
#: sides between an anchor's e^-6th and e^6th part count; beyond, the gradient would overflow
MAX_EXPONENT: Final = 6.0
EPSILON: Final = 1e-7


@dataclass(frozen=True, slots=True)
class LossParts:
    """Scalars, float32."""

    box: Tensor
    objectness: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum: what is minimised."""
        return self.box + self.objectness + self.classes


class YoloLoss:
    """The loss of all heads of a network.

    Args:
        plan: the network.
        box_loss: "squared" as in the paper, or "ciou".
        ignore_threshold: IoU.
    """

    def __init__(self, plan: Plan, box_loss: BoxLoss, ignore_threshold: float) -> None:
        self._heads = [_Head(head, shape.height, shape.width, plan) for head, shape in plan.heads]
        self._box_loss = box_loss
        self._ignore_threshold = ignore_threshold

    def __call__(self, truths: Tensor, targets: Sequence[Tensor], outputs: Sequence[Tensor]) -> LossParts:
        """Compare raw outputs with targets.

        Args:
            truths: as in `Targets`.
            targets: as `Targets.heads`.
            outputs: raw, one a head: (images, rows, columns, anchors * (5 + classes)), of any float type; computed is
                in float32.
        """
        parts = [
            self._head_loss(head, truths, target, output)
            for head, target, output in zip(self._heads, targets, outputs, strict=True)
        ]
        return LossParts(
            sum(part.box for part in parts),
            sum(part.objectness for part in parts),
            sum(part.classes for part in parts),
        )

    def _head_loss(self, head: "_Head", truths: Tensor, target: Tensor, output: Tensor) -> LossParts:
        raw = head.split(output)
        positive = target[..., 4]
        predicted = head.boxes(raw)
        best = _best_overlap(ops.stop_gradient(predicted), truths)
        counted = ops.maximum(positive, ops.cast(best <= self._ignore_threshold, "float32"))
        images = ops.cast(ops.shape(raw)[0], "float32")
        if self._box_loss == "ciou":
            box = CIOU_WEIGHT * (1 - ciou(predicted, target[..., :4]))
        else:
            box = head.squared_error(raw, target)
        classes = ops.sum(_cross_entropy(raw[..., 5:], target[..., 5:]), axis=-1)
        return LossParts(
            ops.sum(_where(positive, box)) / images,
            ops.sum(counted * _cross_entropy(raw[..., 4], positive)) / images,
            ops.sum(_where(positive, classes)) / images,
        )


class _Head:
    """A `[yolo]` section with what follows from its place: the grid, and the anchors in pixels."""

    def __init__(self, yolo: Yolo, rows: int, columns: int, plan: Plan) -> None:
        self._yolo = yolo
        self._shape = (rows, columns, len(yolo.anchors), 5 + yolo.classes)
        self._anchors = np.asarray(yolo.anchors, np.float32)
        self._stride = np.asarray([plan.input.width / columns, plan.input.height / rows], np.float32)
        self._area = float(plan.input.width * plan.input.height)
        column, row = np.meshgrid(np.arange(columns), np.arange(rows))
        #: (rows, columns, 1, 2): the number of each cell, x before y
        self._cells = np.stack([column, row], axis=-1)[:, :, None].astype(np.float32)

    def split(self, output: Tensor) -> Tensor:
        """Raw outputs as float32 (images, rows, columns, anchors, 5 + classes)."""
        return ops.reshape(ops.cast(output, "float32"), (-1, *self._shape))

    def boxes(self, raw: Tensor) -> Tensor:
        """Predicted centre x, centre y, width, height in input pixels."""
        centres = (self._offsets(raw) + self._cells) * self._stride
        sides = ops.exp(ops.clip(raw[..., 2:4], -MAX_EXPONENT, MAX_EXPONENT)) * self._anchors
        return ops.concatenate([centres, sides], axis=-1)

    def squared_error(self, raw: Tensor, target: Tensor) -> Tensor:
        """The paper's: (images, rows, columns, anchors); of no meaning where there is no object."""
        wanted_offsets = target[..., :2] / self._stride - self._cells
        wanted_sides = ops.log(ops.maximum(target[..., 2:4], EPSILON) / self._anchors)
        errors = ops.square(self._offsets(raw) - wanted_offsets) + ops.square(raw[..., 2:4] - wanted_sides)
        area = target[..., 2] * target[..., 3] / self._area
        return (2 - area) * ops.sum(errors, axis=-1) / 2

    def _offsets(self, raw: Tensor) -> Tensor:
        scale = self._yolo.scale_x_y
        return ops.sigmoid(raw[..., :2]) * scale - (scale - 1) / 2


def _where(mask: Tensor, values: Tensor) -> Tensor:
    # not a product: infinity times 0 would be no number
    return ops.where(mask > 0, values, ops.zeros_like(values))


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return ops.binary_crossentropy(targets, logits, from_logits=True)


def _best_overlap(boxes: Tensor, truths: Tensor) -> Tensor:
    """The IoU of each predicted box with the true one that it overlaps most: (images, rows, columns, anchors)."""
    shape = ops.shape(boxes)
    flat = ops.reshape(boxes, (shape[0], -1, 1, 4))
    best = ops.max(_iou(flat, truths[:, None])[0], axis=-1)
    return ops.reshape(best, shape[:-1])


def _iou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """IoU of boxes (centre, sides), and width and height of the smallest box around both."""
    a_low, a_high = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
    b_low, b_high = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    sides = ops.maximum(ops.minimum(a_high, b_high) - ops.maximum(a_low, b_low), 0.0)
    shared = sides[..., 0] * sides[..., 1]
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - shared
    around = ops.maximum(a_high, b_high) - ops.minimum(a_low, b_low)
    return shared / (union + EPSILON), around[..., 0], around[..., 1]


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of boxes, from -1.5 to 1 (arXiv 1911.08287, section 3.4).

    Args:
        a: (..., 4): centre x, centre y, width, height; the gradient is for it.
        b: (..., 4).
    """
    iou, around_width, around_height = _iou(a, b)
    diagonal = ops.square(around_width) + ops.square(around_height) + EPSILON
    distance = ops.sum(ops.square(a[..., :2] - b[..., :2]), axis=-1)
    angles = ops.arctan2(b[..., 2], b[..., 3] + EPSILON) - ops.arctan2(a[..., 2], a[..., 3] + EPSILON)
    aspect = (4 / math.pi**2) * ops.square(angles)
    weight = ops.stop_gradient(aspect / (1 - iou + aspect + EPSILON))
    return iou - distance / diagonal - weight * aspect
