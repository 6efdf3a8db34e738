"""From the raw outputs of YOLOv3 heads to boxes (arXiv 1804.02767, section 2), and the choice among them.

For a cell at (row, column) of a head and an anchor of (w, h) input pixels, the raw values are tx, ty, tw, th, the
objectness and one value a class, the last ones each through a logistic function of its own:

    centre x = (logistic(tx) * s - (s - 1) / 2 + column) / columns    s: `scale_x_y`, 1 in YOLOv3 itself
    width    = exp(tw) * w / input width
    score    = logistic(objectness) * logistic(class)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.models.darknet.cfg import Yolo

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: the best candidates that non-maximum suppression looks at; a photo at a sensible threshold has a few hundred
MAX_CANDIDATES: Final = 10_000
#: exp(40) pixels are beyond any image, and finite
MAX_EXPONENT: Final = 40.0


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes that may be objects; one box can be several, of different classes.

    Args:
        boxes: float32 (N, 4): left, top, right, bottom in input pixels, not clipped.
        scores: float32 (N,), objectness times class probability.
        class_ids: int64 (N,).
    """

    boxes: Floats
    scores: Floats
    class_ids: Integers

    def take(self, indices: Integers) -> "Candidates":
        """Those at `indices`, in their order."""
        return Candidates(self.boxes[indices], self.scores[indices], self.class_ids[indices])


def decode(outputs: Sequence[Floats], heads: Sequence[Yolo], input_size: tuple[int, int], score: float) -> Candidates:
    """Decode all heads of one image.

    Args:
        outputs: raw, one a head: float32 (1, rows, columns, anchors * (5 + classes)).
        heads: their `[yolo]` sections, in the same order.
        input_size: height and width of the network's input.
        score: only candidates whose score is higher.
    """
    found = [_decode_head(output[0], head, input_size, score) for output, head in zip(outputs, heads, strict=True)]
    return Candidates(
        np.concatenate([each.boxes for each in found]),
        np.concatenate([each.scores for each in found]),
        np.concatenate([each.class_ids for each in found]),
    )


def _decode_head(raw: Floats, head: Yolo, input_size: tuple[int, int], score: float) -> Candidates:
    rows, columns = raw.shape[:2]
    cells = raw.reshape(rows, columns, len(head.anchors), 5 + head.classes)
    # a class probability is 1 at most, so where the objectness is too low nothing can be found
    objectness = _logistic(cells[..., 4])
    row, column, anchor = np.nonzero(objectness > score)
    chosen = cells[row, column, anchor]
    scores = objectness[row, column, anchor][:, np.newaxis] * _logistic(chosen[:, 5:])
    cell, class_ids = np.nonzero(scores > score)

    height, width = input_size
    shift = (head.scale_x_y - 1) / 2
    offsets = _logistic(chosen[:, :2]) * np.float32(head.scale_x_y) - np.float32(shift)
    centres = (offsets + np.stack([column, row], axis=1)) * (width / columns, height / rows)
    sides = np.exp(np.minimum(chosen[:, 2:4], MAX_EXPONENT)) * np.asarray(head.anchors, np.float32)[anchor]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1).astype(np.float32)
    return Candidates(boxes[cell], scores[cell, class_ids], class_ids.astype(np.int64))


def _logistic(x: Floats) -> Floats:
    # in this form nothing overflows: exp of a number that is 0 at most
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, small) / (1 + small), np.float32)


def suppress(candidates: Candidates, *, score: float, iou: float, max_detections: int) -> Candidates:
    """Class-wise non-maximum suppression.

    Args:
        candidates: as `decode` returns them.
        score: only candidates whose score is higher.
        iou: of two boxes of one class that overlap by more than this, only the better is kept.
        max_detections: how many at most.

    Returns:
        The best ones, falling by score.
    """
    order = np.argsort(-candidates.scores, kind="stable")[:MAX_CANDIDATES]
    best = candidates.take(order)
    if not len(order) or max_detections < 1:
        return best.take(np.empty(0, np.int64))
    corners = best.boxes.astype(np.float64)
    rectangles = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(rectangles.tolist(), best.scores.tolist(), best.class_ids.tolist(), score, iou)
    indices = np.sort(np.asarray(kept, np.int64).reshape(-1))[:max_detections]
    return best.take(indices)
