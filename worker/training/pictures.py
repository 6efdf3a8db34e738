"""Training images and what is done to them whatever network learns from them: NumPy and OpenCV only.

A picture is uint8 RGB with its boxes in pixels. What is random comes from a generator that is handed in, so that a run
can be repeated and resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.models.base import Image
from worker.training.config import Augmentation

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: an object of which less is left, in pixels of a side or as share of its area, is not taught
MIN_SIDE: Final = 4.0
MIN_VISIBLE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and its objects.

    Args:
        pixels: uint8 RGB (height, width, 3).
        boxes: float32 (N, 4): left, top, right, bottom in pixels.
        class_ids: int64 (N,).
        masks: bool (N, height, width), or None.
    """

    pixels: Image
    boxes: Floats
    class_ids: Integers
    masks: NDArray[np.bool_] | None = None


#: gives any training picture, by number
Source = Callable[[int], Picture]


def with_pasted(source: Source, count: int, index: int, settings: Augmentation, random: np.random.Generator) -> Picture:
    """The picture `index`, perhaps with objects of another one; those that they hide too much of are gone."""
    picture = source(index)
    if random.random() >= settings.paste:
        return picture
    other = source(int(random.integers(count)))
    if other.masks is None or not len(other.boxes):
        return picture
    chosen = random.permutation(len(other.boxes))[: random.integers(1, 4)]
    for number in chosen.tolist():
        picture = paste(picture, other, number, random)
    return picture


def paste(target: Picture, source: Picture, number: int, random: np.random.Generator) -> Picture:
    """Cut an object out of a picture by its mask and put it into another, scaled and perhaps mirrored."""
    assert source.masks is not None  # noqa: S101 -- the caller looked
    left, top = np.floor(source.boxes[number, :2]).astype(int).clip(0)
    right, bottom = np.ceil(source.boxes[number, 2:]).astype(int)
    cut = source.pixels[top:bottom, left:right]
    mask = source.masks[number, top:bottom, left:right].astype(np.uint8)
    height, width = target.pixels.shape[:2]
    # no larger than the picture it goes into
    limit = min(height / max(cut.shape[0], 1), width / max(cut.shape[1], 1))
    scale = min(float(random.uniform(0.5, 1.3)), 0.95 * limit)
    columns, rows = int(cut.shape[1] * scale), int(cut.shape[0] * scale)
    if min(columns, rows) < 2 * MIN_SIDE:
        return target
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cut = cv2.resize(cut, (columns, rows), interpolation=how).astype(np.uint8, copy=False)
    opacity = cv2.GaussianBlur(cv2.resize(mask * 255, (columns, rows), interpolation=cv2.INTER_LINEAR), (3, 3), 0)
    if random.random() < 0.5:
        cut, opacity = np.ascontiguousarray(cut[:, ::-1]), np.ascontiguousarray(opacity[:, ::-1])
    x, y = int(random.integers(width - columns + 1)), int(random.integers(height - rows + 1))
    seen = opacity > 127
    if not seen.any():
        return target
    pixels = target.pixels.copy()
    alpha = opacity[..., None].astype(np.float32) / 255
    place_in = pixels[y : y + rows, x : x + columns]
    place_in[:] = np.rint(alpha * cut + (1 - alpha) * place_in).astype(np.uint8)
    inner_rows, inner_columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    box = np.asarray(
        [[x + inner_columns[0], y + inner_rows[0], x + inner_columns[-1] + 1, y + inner_rows[-1] + 1]], np.float32
    )
    # what lies mostly behind the new object cannot be found any more
    sides = np.minimum(target.boxes[:, 2:], box[:, 2:]) - np.maximum(target.boxes[:, :2], box[:, :2])
    hidden = np.maximum(sides, 0).prod(axis=1) / np.maximum(
        (target.boxes[:, 2:] - target.boxes[:, :2]).prod(axis=1), 1e-6
    )
    kept = hidden < 0.6
    masks = None
    if target.masks is not None:
        whole = np.zeros((1, height, width), np.bool_)
        whole[0, y : y + rows, x : x + columns] = seen
        masks = np.concatenate([target.masks[kept] & ~whole, whole])
    return Picture(
        pixels,
        np.concatenate([target.boxes[kept], box]),
        np.concatenate([target.class_ids[kept], source.class_ids[number : number + 1]]),
        masks,
    )


def shift_colours(pixels: Image, settings: Augmentation, random: np.random.Generator) -> Image:
    """Hue, saturation and brightness changed at random, each by one factor for the whole picture."""
    hue, saturation, brightness = random.uniform(-1, 1, 3) * [
        settings.hue,
        settings.saturation,
        settings.brightness,
    ]
    table = np.arange(256, dtype=np.float32)
    channels = cv2.split(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV))
    tables = (
        (table + 180 * hue) % 180,
        (table * (1 + saturation)).clip(0, 255),
        (table * (1 + brightness)).clip(0, 255),
    )
    changed = [cv2.LUT(channel, each.astype(np.uint8)) for channel, each in zip(channels, tables, strict=True)]
    return cv2.cvtColor(cv2.merge(changed), cv2.COLOR_HSV2RGB).astype(np.uint8, copy=False)
