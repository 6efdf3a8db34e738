"""From a photo to the network's input."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from worker.models.base import Image, Placement, Prepared
from worker.models.mask_rcnn.plan import Plan

Floats = NDArray[np.float32]


def prepare(plan: Plan, image: Image) -> Prepared:
    """Scale a photo, put it on a canvas and subtract the mean.

    Matterport puts it in the middle of a black square; Detectron2 into the upper left corner, on the mean colour.

    Args:
        plan: for the sides, the mean, and whose way.
        image: uint8 RGB (height, width, 3).
    """
    placement = _place(plan, *image.shape[:2])
    rows, columns = plan.canvas(image.shape[:2])
    mean = np.asarray(plan.mean_pixel, np.float32)
    batch = np.empty((1, rows, columns, 3), np.float32)
    batch[:] = -mean if plan.layout == "matterport" else 0
    bottom, right = placement.top + placement.height, placement.left + placement.width
    batch[0, placement.top : bottom, placement.left : right] = _resize(plan, image, placement) - mean
    return Prepared(batch, placement)


def bounds_of(plan: Plan, placement: Placement) -> Floats:
    """Where the photo lies in the input: left, top, right, bottom, less `plan.far_edge`."""
    right, bottom = placement.left + placement.width, placement.top + placement.height
    return np.asarray(
        [placement.left, placement.top, right - plan.far_edge, bottom - plan.far_edge],
        np.float32,
    )


def _place(plan: Plan, height: int, width: int) -> Placement:
    scale = plan.min_side / min(height, width)
    if plan.layout == "matterport":
        scale = max(1.0, scale)
        if round(max(height, width) * scale) > plan.max_side:
            scale = plan.max_side / max(height, width)
        inner_height, inner_width = max(1, round(height * scale)), max(1, round(width * scale))
        left, top = (plan.max_side - inner_width) // 2, (plan.max_side - inner_height) // 2
        return Placement((height, width), left, top, inner_width, inner_height)
    scale = min(scale, plan.max_side / max(height, width))
    inner_height, inner_width = max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    return Placement((height, width), 0, 0, inner_width, inner_height)


def _resize(plan: Plan, image: Image, placement: Placement) -> Image:
    target = (placement.width, placement.height)
    if target == (image.shape[1], image.shape[0]):
        return image
    if plan.layout == "matterport":
        return np.asarray(cv2.resize(image, target, interpolation=cv2.INTER_LINEAR), np.uint8)
    # Pillow's own, as Detectron2 does: it averages where it makes smaller, and the network was trained on that
    return np.asarray(Pillow.fromarray(image).resize(target, Pillow.Resampling.BILINEAR), np.uint8)
