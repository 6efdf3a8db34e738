"""Training images, made anew each time: scaled, moved, mirrored and recoloured, with their masks."""

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.preprocess import prepare
from worker.training.config import Augmentation
from worker.training.errors import TrainingError
from worker.training.pictures import MIN_SIDE, MIN_VISIBLE, Picture, shift_colours

#: pixels beyond the photo: Matterport's canvas is black
BLACK: Final = (0, 0, 0)


def augment(plan: Plan, picture: Picture, settings: Augmentation, random: np.random.Generator) -> Picture:
    """A picture of the canvas's size: as `prepare` would place it, then changed at random.

    Args:
        plan: for the canvas.
        picture: with masks.
        settings: flip, scale, translate and colours are used.
        random: draws.
    """
    scale = float(random.uniform(1 - settings.scale, 1 + settings.scale))
    shift = random.uniform(-1, 1, 2) * settings.translate
    mirrored = bool(random.random() < settings.flip)
    placed = place(plan, picture, scale=scale, shift=(float(shift[0]), float(shift[1])), mirrored=mirrored)
    return replace(placed, pixels=shift_colours(placed.pixels, settings, random))


def masked(picture: Picture) -> Picture:
    """A picture with masks, if only none for its no objects.

    Raises:
        TrainingError: it has objects, but no masks.
    """
    if picture.masks is not None:
        return picture
    if len(picture.boxes):
        raise TrainingError("masks are learnt from images with masks of their size")
    return replace(picture, masks=np.zeros((0, *picture.pixels.shape[:2]), np.bool_))


def place(
    plan: Plan, picture: Picture, *, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), mirrored: bool = False
) -> Picture:
    """Put a picture on the canvas; objects of which little is left are dropped.

    Args:
        plan: for the canvas, and where `prepare` puts a picture of this size.
        picture: with masks.
        scale: beside that of `prepare`, around the middle of the canvas.
        shift: to the right and down, as shares of the canvas.
        mirrored: left and right.
    """
    placement = prepare(plan, picture.pixels).placement
    rows, columns = plan.canvas(picture.pixels.shape[:2])
    height, width = picture.pixels.shape[:2]
    across, down = scale * placement.width / width, scale * placement.height / height
    left = columns / 2 + scale * (placement.left - columns / 2) + shift[0] * columns
    top = rows / 2 + scale * (placement.top - rows / 2) + shift[1] * rows
    # pixel centres lie at halves, for OpenCV at whole numbers
    matrix = np.asarray([[across, 0, left + (across - 1) / 2], [0, down, top + (down - 1) / 2]], np.float64)
    if mirrored:
        matrix[0] = -matrix[0]
        matrix[0, 2] += columns - 1
    assert picture.masks is not None  # noqa: S101 -- the caller looked
    pixels = _warp(picture.pixels, matrix, (columns, rows))
    masks = np.asarray(
        [_warp(mask.astype(np.uint8) * 255, matrix, (columns, rows)) > 127 for mask in picture.masks], np.bool_
    ).reshape(-1, rows, columns)
    whole = picture.masks.sum(axis=(1, 2)) * (across * down)
    boxes = np.asarray([tight_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    kept = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(axis=1) & (masks.sum(axis=(1, 2)) >= MIN_VISIBLE * whole)
    return Picture(pixels, boxes[kept], picture.class_ids[kept], masks[kept])


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The smallest box around the pixels of a mask: left, top, right, bottom; all 0 for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _warp(pixels: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.uint8]:
    warped = cv2.warpAffine(
        pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=BLACK
    )
    return warped.astype(np.uint8, copy=False)
