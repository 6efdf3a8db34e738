"""Grad-CAM without automatic differentiation.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization": the last
feature maps A_k are added up, each weighted by the mean of the gradient of the class' logit over the map's places, and
what is negative is dropped. The gradient's mean over a map's places is the logit's slope as that whole map is raised by
a constant, divided by the number of places. So it takes two runs of the network's head for each map (a central
difference) and no gradients, which inference engines do not have. Where the head is a mean over all places and a
linear layer, as in the networks of `keras.applications`, the logit is linear in that constant and the slope is exact
(the map is then the CAM of Zhou et al. 2016); elsewhere it is a numerical derivative.
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: how far a map is raised and lowered, of the mean size of all values
STEP: Final = 0.05
#: values of one run of the head: 32 MiB
_BATCH_VALUES: Final = 1 << 23


def channel_weights(head: Callable[[Array], Array], point: Array, class_id: int) -> Array:
    """The slope of a class' logit as each feature map is raised.

    Args:
        head: gives the logits, float32 (batch, classes), of points (batch, *shape).
        point: float32, the feature maps (rows, columns, channels), or their means (channels,) if the head begins with
            those: to raise a map raises its mean by as much.
        class_id: the class.

    Returns:
        float32 (channels,).
    """
    channels = point.shape[-1]
    step = np.float32(STEP * max(float(np.abs(point).mean()), 1e-3))
    slopes = np.empty(channels, np.float32)
    at_once = max(1, _BATCH_VALUES // (2 * point.size))
    for start in range(0, channels, at_once):
        part = np.arange(start, min(start + at_once, channels))
        points = np.repeat(point[np.newaxis], 2 * len(part), axis=0)
        rows = np.arange(len(part))
        points[rows, ..., part] += step
        points[len(part) + rows, ..., part] -= step
        logits = head(points)[:, class_id].astype(np.float64)
        slopes[part] = (logits[: len(part)] - logits[len(part) :]) / (2 * float(step))
    return slopes


def heat_map(maps: Array, weights: Array, height: int, width: int) -> Array:
    """The weighted sum of feature maps, without what is negative.

    Args:
        maps: float32 (rows, columns, channels).
        weights: float32 (channels,).
        height: of the result.
        width: of the result.

    Returns:
        float32 (height, width) from 0 to 1, the largest value 1; all 0 where nothing speaks for the class.
    """
    sums = np.maximum(maps @ weights, 0).astype(np.float32)
    heat = np.asarray(cv2.resize(sums, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    highest = float(heat.max())
    return heat / np.float32(highest) if highest > 0 else np.zeros_like(heat)
