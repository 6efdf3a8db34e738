"""Training images, made anew each time from the user's: NumPy and OpenCV only.

A picture is uint8 RGB with its boxes in pixels; all steps take and give `Picture`s. What is random comes from a
generator that is handed in, so that a run can be repeated and resumed.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.models.darknet.preprocess import GREY
from worker.training.config import Augmentation
from worker.training.pictures import (
    MIN_SIDE,
    MIN_VISIBLE,
    Floats,
    Integers,
    Picture,
    Source,
    shift_colours,
    with_pasted,
)


class Augmenter:
    """Makes training pictures.

    Args:
        source: the pictures as they are.
        count: how many there are.
        size: height and width of the network's input.
        settings: how much is changed.
    """

    def __init__(self, source: Source, count: int, size: tuple[int, int], settings: Augmentation) -> None:
        self._source = source
        self._count = count
        self._size = size
        self._settings = settings

    def make(self, index: int, random: np.random.Generator) -> Picture:
        """A picture of the network's size that shows the picture `index`, alone or with three others."""
        settings = self._settings
        make = self._mosaic if random.random() < settings.mosaic else self._single
        picture = make(index, random)
        if random.random() < settings.flip:
            picture = flip(picture)
        return replace(picture, pixels=shift_colours(picture.pixels, settings, random))

    def _single(self, index: int, random: np.random.Generator) -> Picture:
        """Letterboxed, scaled and moved at random."""
        picture = self._with_pasted(index, random)
        size = self._size
        height, width = picture.pixels.shape[:2]
        fit = min(size[0] / height, size[1] / width)
        scale = fit * random.uniform(1 - self._settings.scale, 1 + self._settings.scale)
        stretch = np.exp(random.uniform(-1, 1) * np.log1p(self._settings.scale / 3))
        x, y = random.uniform(-1, 1, 2) * self._settings.translate
        return place(
            picture,
            size,
            scale=(scale * stretch, scale / stretch),
            centre=(size[1] * (0.5 + x), size[0] * (0.5 + y)),
        )

    def _mosaic(self, index: int, random: np.random.Generator) -> Picture:
        """Four pictures around a point near the middle, each filling its quarter."""
        height, width = self._size
        middle_x, middle_y = (round(side * float(random.uniform(0.3, 0.7))) for side in (width, height))
        canvas = np.full((height, width, 3), GREY, np.uint8)
        boxes: list[Floats] = []
        class_ids: list[Integers] = []
        indices = [index, *random.integers(self._count, size=3).tolist()]
        for number, position in enumerate(random.permutation(4).tolist()):
            left, right = (0, middle_x) if position % 2 == 0 else (middle_x, width)
            top, bottom = (0, middle_y) if position < 2 else (middle_y, height)
            part = self._quarter(indices[number], (bottom - top, right - left), random)
            canvas[top:bottom, left:right] = part.pixels
            boxes.append(part.boxes + np.asarray([left, top, left, top], np.float32))
            class_ids.append(part.class_ids)
        return Picture(canvas, np.concatenate(boxes), np.concatenate(class_ids))

    def _quarter(self, index: int, size: tuple[int, int], random: np.random.Generator) -> Picture:
        """A cut-out that covers `size`: between half of the network's scale and more than the whole of it."""
        picture = self._with_pasted(index, random)
        height, width = picture.pixels.shape[:2]
        whole = min(self._size[0] / height, self._size[1] / width)
        cover = max(size[0] / height, size[1] / width)
        low = whole * 0.5
        scale = max(cover, random.uniform(low, whole * (1 + self._settings.scale / 2)))
        room_x, room_y = width * scale - size[1], height * scale - size[0]
        centre = (
            width * scale / 2 - random.uniform(0, 1) * max(room_x, 0.0),
            height * scale / 2 - random.uniform(0, 1) * max(room_y, 0.0),
        )
        return place(picture, size, scale=(scale, scale), centre=centre)

    def _with_pasted(self, index: int, random: np.random.Generator) -> Picture:
        """The picture, perhaps with objects of another one; those that they hide too much of are gone."""
        return with_pasted(self._source, self._count, index, self._settings, random)


def place(
    picture: Picture, size: tuple[int, int], *, scale: tuple[float, float], centre: tuple[float, float]
) -> Picture:
    """Scale a picture and put its centre at a point of a grey canvas; boxes are clipped, slivers dropped.

    Args:
        picture: masks are not carried over.
        size: height and width of the canvas.
        scale: factors of width and height.
        centre: x, y on the canvas.
    """
    height, width = picture.pixels.shape[:2]
    shift_x, shift_y = centre[0] - width * scale[0] / 2, centre[1] - height * scale[1] / 2
    # pixel centres lie at halves, for OpenCV at whole numbers
    matrix = np.asarray(
        [
            [scale[0], 0, shift_x + (scale[0] - 1) / 2],
            [0, scale[1], shift_y + (scale[1] - 1) / 2],
        ],
        np.float64,
    )
    pixels = picture.pixels
    if max(scale) < 0.5:
        # averaged first, or fine patterns would alias
        factor = max(scale) * 1.5
        small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        ratio_x, ratio_y = width / small.shape[1], height / small.shape[0]
        matrix = np.asarray(
            [
                [scale[0] * ratio_x, 0, shift_x + (scale[0] * ratio_x - 1) / 2],
                [0, scale[1] * ratio_y, shift_y + (scale[1] * ratio_y - 1) / 2],
            ],
            np.float64,
        )
        pixels = small.astype(np.uint8, copy=False)
    canvas = cv2.warpAffine(
        pixels,
        matrix,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY),
    )
    moved = picture.boxes * np.asarray([*scale, *scale], np.float32) + np.asarray(
        [shift_x, shift_y, shift_x, shift_y], np.float32
    )
    boxes = moved.clip(0, np.asarray([size[1], size[0], size[1], size[0]], np.float32))
    kept = visible(moved, boxes)
    return Picture(canvas.astype(np.uint8, copy=False), boxes[kept], picture.class_ids[kept])


def visible(before: Floats, after: Floats) -> NDArray[np.bool_]:
    """Which boxes are still worth teaching after they were clipped: bool (N,)."""
    old, new = before[:, 2:] - before[:, :2], after[:, 2:] - after[:, :2]
    share = new.prod(axis=1) / np.maximum(old.prod(axis=1), 1e-6)
    return np.asarray((new >= MIN_SIDE).all(axis=1) & (share >= MIN_VISIBLE), np.bool_)


def flip(picture: Picture) -> Picture:
    """Mirrored left and right; masks are not carried over."""
    width = picture.pixels.shape[1]
    boxes = picture.boxes.copy()
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    return Picture(np.ascontiguousarray(picture.pixels[:, ::-1]), boxes, picture.class_ids)
