"""From the small masks that the network predicts to pixels of the photo."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.masks import InstanceMask

Floats = NDArray[np.float32]

THRESHOLD: Final = 0.5
#: pixels that are interpolated at once; a mask of a whole large photo would take gigabytes as floats
STRIP: Final = 1 << 22
#: pixels, a byte each, that all masks of a photo may take: a hundred objects as large as a photo are no objects
MOST_PIXELS: Final = 1 << 28


def paste_masks(masks: Floats, boxes: Floats, size: tuple[int, int]) -> tuple[InstanceMask, ...]:
    """Stretch each mask over its box.

    Bilinear, between the centres of cells and pixels, with nothing around the mask; what reaches 0.5 is the object.

    Args:
        masks: (N, rows, columns), probabilities.
        boxes: (N, 4), left, top, right, bottom in pixels of the photo, of some area, within it.
        size: height and width of the photo.

    Returns:
        The pixels of each object, cut to its box. Where all together are more than `MOST_PIXELS`, the later ones have
        none: their boxes are still right.
    """
    pasted: list[InstanceMask] = []
    left = MOST_PIXELS
    for mask, box in zip(masks, boxes, strict=True):  # one after another: each is of another size
        left -= math.prod((np.ceil(box[2:]) - np.floor(box[:2])).astype(int).tolist())
        pasted.append(_paste(mask, box, size) if left >= 0 else InstanceMask(0, 0, np.zeros((0, 0), np.bool_)))
    return tuple(pasted)


def _paste(mask: Floats, box: Floats, size: tuple[int, int]) -> InstanceMask:
    left, top = np.floor(box[:2]).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(box[2:]), [size[1], size[0]]).astype(int).tolist()
    down = _interpolation(top, bottom, float(box[1]), float(box[3]), mask.shape[0])
    across = mask @ _interpolation(left, right, float(box[0]), float(box[2]), mask.shape[1]).T
    pixels = np.empty((bottom - top, right - left), np.bool_)
    step = max(1, STRIP // max(1, right - left))
    for start in range(0, len(pixels), step):
        strip = slice(start, start + step)
        np.greater_equal(down[strip] @ across, THRESHOLD, out=pixels[strip])
    return InstanceMask(left, top, pixels)


def _interpolation(first: int, end: int, low: float, high: float, cells: int) -> Floats:
    """The matrix (pixels, cells) that takes cells from `low` to `high` to the pixels from `first` to before `end`."""
    positions = (np.arange(first, end) + 0.5 - low) * (cells / (high - low)) - 0.5
    distance = np.abs(positions[:, np.newaxis] - np.arange(cells))
    return np.asarray(np.maximum(1 - distance, 0), np.float32)
