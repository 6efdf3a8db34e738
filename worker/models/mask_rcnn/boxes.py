"""The code of boxes (arXiv 1311.2524, appendix C), clipping, and non-maximum suppression."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: of the box head's deltas (dy, dx, dh, dw), in both implementations
BOX_SCALE: Final = (0.1, 0.1, 0.2, 0.2)


def encode(boxes: Floats, targets: Floats, scale: tuple[float, ...]) -> Floats:
    """The deltas that turn `boxes` into `targets`.

    Args:
        boxes: (N, 4), left, top, right, bottom, with an area.
        targets: (N, 4), with an area.
        scale: the deltas are divided by it.

    Returns:
        float32 (N, 4): the centre's way down and to the right, as shares of the box's height and width; the logarithms
        of the changes of height and width.
    """
    size, wanted = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    way = ((targets[:, :2] + targets[:, 2:]) - (boxes[:, :2] + boxes[:, 2:])) / 2 / size
    deltas = np.concatenate([way[:, ::-1], np.log(wanted / size)[:, ::-1]], axis=1)
    return np.asarray(deltas / np.asarray(scale, np.float32), np.float32)


def decode(boxes: Floats, deltas: Floats, scale: tuple[float, ...], max_log_size: float) -> Floats:
    """Apply deltas to boxes: the inverse of `encode`.

    Args:
        boxes: (N, 4).
        deltas: (N, 4).
        scale: the deltas are multiplied by it.
        max_log_size: larger logarithms of a change of size are taken for this.

    Returns:
        float32 (N, 4).
    """
    deltas = deltas * np.asarray(scale, np.float32)
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2 + deltas[:, 1::-1] * size
    half = size * np.exp(np.minimum(deltas[:, :1:-1], np.float32(max_log_size))) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip(boxes: Floats, bounds: Floats) -> Floats:
    """Boxes (N, 4) cut to `bounds` (4,): left, top, right, bottom."""
    return boxes.clip(np.tile(bounds[:2], 2), np.tile(bounds[2:], 2))


def areas(boxes: Floats) -> Floats:
    """float32 (N,): 0 for a box that is turned inside out."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def suppress(boxes: Floats, iou: float, limit: int, groups: Integers | None = None) -> Integers:
    """Greedy non-maximum suppression (OpenCV's).

    Args:
        boxes: (N, 4), the best first.
        iou: of two boxes that overlap by more, only the better stays.
        limit: how many to keep at most.
        groups: (N,), boxes of different groups do not suppress each other.

    Returns:
        int64 (M,): the indices of those that stay, rising.
    """
    rectangles = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    # only the order counts, and rank keeps it where scores are equal
    ranks = np.arange(len(boxes), 0, -1, dtype=np.float32)
    # What stays of the first so many does not depend on those behind, and the time grows with the square: so begin with
    # as many as are likely to do.
    count = 2 * limit
    while True:
        first = slice(0, count)
        if not len(boxes):
            return np.empty(0, np.int64)
        if groups is None:
            kept = cv2.dnn.NMSBoxes(rectangles[first], ranks[first], 0.0, iou)  # type: ignore[arg-type]
        else:
            kept = cv2.dnn.NMSBoxesBatched(
                rectangles[first],  # type: ignore[arg-type]
                ranks[first],  # type: ignore[arg-type]
                groups[first].astype(np.int32),  # type: ignore[arg-type]
                0.0,
                iou,
            )
        if len(kept) >= limit or count >= len(boxes):
            return np.sort(np.asarray(kept, np.int64).reshape(-1))[:limit]
        count *= 2
