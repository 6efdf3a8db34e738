"""Anchors: the boxes that the region proposal network corrects (arXiv 1506.01497, section 3.1.1)."""

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.plan import STRIDES, Plan, Size

Floats = NDArray[np.float32]


def make_anchors(plan: Plan, canvas: Size) -> list[Floats]:
    """The anchors of each level of the pyramid, in the order in which the network speaks of them.

    Args:
        plan: whose scales and ratios; both implementations centre anchors on the upper left corner of a cell.
        canvas: height and width of the network's input.

    Returns:
        For each level float32 (rows * columns * ratios, 4): left, top, right, bottom in pixels, less `plan.far_edge`;
        row by row, then cell by cell, then ratio by ratio. They stick out of the image.
    """
    ratios = np.sqrt(np.asarray(plan.anchor_ratios, np.float64))
    found = []
    for (rows, columns), stride, scale in zip(plan.level_sizes(canvas), STRIDES, plan.anchor_scales, strict=True):
        half = np.stack([scale * ratios, scale / ratios], axis=1) / 2
        shape = (rows, columns, len(ratios), 2)
        centre = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)[:, :, np.newaxis] * float(stride)
        boxes = np.concatenate(
            [np.broadcast_to(centre - half, shape), np.broadcast_to(centre + half - plan.far_edge, shape)], axis=-1
        )
        found.append(boxes.reshape(-1, 4).astype(np.float32))
    return found
