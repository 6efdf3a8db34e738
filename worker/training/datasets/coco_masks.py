"""COCO's masks: polygons, and run lengths as numbers or packed into a string.

Everything is checked before it is drawn: pycocotools hangs on coordinates far outside, and fills what too few runs
leave open with whatever lies in memory.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from worker.training.datasets.errors import DatasetError

#: as in the file: a list of polygons, or an object with `counts` and `size`; unchecked
Segmentation: TypeAlias = Any

#: of one mask; a polygon of a person has a few dozen points
MAX_POINTS: Final = 100_000


def read_masks(segmentations: Sequence[Segmentation], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the masks of an image.

    Args:
        segmentations: one an object.
        size: height and width of the image.

    Returns:
        bool (N, height, width).

    Raises:
        DatasetError: one is of another form, or of another size than the image.
    """
    masks = [_read(each, size) for each in segmentations]
    return np.stack(masks) if masks else np.empty((0, *size), np.bool_)


def _read(segmentation: Segmentation, size: tuple[int, int]) -> NDArray[np.bool_]:
    try:
        if isinstance(segmentation, list):
            return _polygons(segmentation, size)
        if list(segmentation["size"]) != list(size):
            raise ValueError("it is of another size than the image")
        counts = segmentation["counts"]
        return _runs(_unpack(counts) if isinstance(counts, str) else counts, size)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DatasetError(f"a mask cannot be read: {error}") from error


def _polygons(polygons: list[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = size
    checked: list[list[float]] = []
    for polygon in polygons:
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or len(points) % 2 or not 6 <= len(points) <= 2 * MAX_POINTS:
            raise ValueError("a polygon is not a list of three points or more")
        if not np.isfinite(points).all():
            raise ValueError("a polygon has a point that is no number")
        points[0::2] = points[0::2].clip(0, width)
        points[1::2] = points[1::2].clip(0, height)
        checked.append(points.tolist())
    if not checked:
        raise ValueError("it has no polygon")
    runs = coco_mask.merge(coco_mask.frPyObjects(cast("Any", checked), height, width))
    return np.asarray(coco_mask.decode(runs), np.bool_)


def _runs(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Runs of background and object in turn, down the columns."""
    height, width = size
    lengths = np.asarray(counts)
    # in Python's numbers, which do not overflow
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or lengths.min() < 0 or sum(counts) != height * width:
        raise ValueError("its runs do not make up the image")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def _unpack(text: str) -> list[int]:
    """COCO's packed runs: 5 bits a letter, the lowest first; from the fourth on, each less the one two before."""
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its packed runs are broken")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return counts
