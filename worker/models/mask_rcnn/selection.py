"""The detection layer: which of the regions are objects, of which class, and where exactly."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.boxes import BOX_SCALE, areas, clip, decode, suppress
from worker.models.mask_rcnn.plan import Plan

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: the best candidates that suppression looks at; a photo at a sensible threshold has a few hundred
MAX_CANDIDATES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Selected:
    """Objects, the best first.

    Args:
        boxes: float32 (N, 4), in pixels of the network's input, less `plan.far_edge`.
        scores: float32 (N,).
        classes: int64 (N,), from 1; 0 would be the background.
    """

    boxes: Floats
    scores: Floats
    classes: Integers


def softmax(logits: Floats) -> Floats:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def select(
    plan: Plan,
    regions: Floats,
    logits: Floats,
    deltas: Floats,
    bounds: Floats,
    *,
    score: float,
    iou: float,
    limit: int,
) -> Selected:
    """Choose the objects of one image.

    A region is one object at most with Matterport, of its most probable class; with Detectron2 it may be one of each
    class.

    Args:
        plan: whose way.
        regions: (N, 4), what the heads looked at.
        logits: (N, classes), of the background first.
        deltas: (N, classes, 4), corrections of the region for each class.
        bounds: (4,), where the photo is in the network's input; less `plan.far_edge`.
        score: only objects whose probability is higher.
        iou: of two boxes of one class that overlap by more than this, only the better stays.
        limit: how many at most.
    """
    scores = softmax(logits)
    candidate = scores > score
    candidate[:, 0] = False
    if plan.layout == "matterport":
        candidate &= np.arange(plan.classes) == scores.argmax(axis=1)[:, np.newaxis]
    region, classes = np.nonzero(candidate)
    order = np.argsort(-scores[region, classes], kind="stable")[:MAX_CANDIDATES]
    region, classes = region[order], classes[order]
    boxes = clip(decode(regions[region], deltas[region, classes], BOX_SCALE, plan.max_log_size), bounds)
    there = areas(boxes) > 0
    boxes, region, classes = boxes[there], region[there], classes[there]
    kept = suppress(boxes, iou, limit, classes)
    return Selected(boxes[kept], scores[region[kept], classes[kept]], classes[kept])
