"""What the network should have answered. NumPy only: no gradient flows through it.

Boxes are as in `worker.models.mask_rcnn`: left, top, right, bottom in pixels of the input, less `plan.far_edge`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.boxes import BOX_SCALE, areas, encode

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

#: an anchor with an IoU from here up is on an object, one below the other number on none (arXiv 1506.01497, 3.1.2)
ANCHOR_OBJECT: Final = 0.7
ANCHOR_BACKGROUND: Final = 0.3
#: a region with an IoU from here up is an object (arXiv 1703.06870, section 3.1)
REGION_OBJECT: Final = 0.5

#: labels of anchors
OBJECT: Final = 1
BACKGROUND: Final = 0
IGNORED: Final = -1


def overlaps(boxes: Floats, truths: Floats) -> Floats:
    """IoU of every box (N, 4) with every other (M, 4): float32 (N, M); 0 where neither has an area."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    union = areas(boxes)[:, None] + areas(truths)[None] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), np.float32)


@dataclass(frozen=True, slots=True)
class AnchorTargets:
    """What the region proposal network should say of one image.

    Args:
        labels: int8 (A,): `OBJECT`, `BACKGROUND`, or `IGNORED`, as most are.
        deltas: float32 (A, 4), dy, dx, dh, dw over `plan.rpn_scale`; 0 where the label is not `OBJECT`.
    """

    labels: NDArray[np.int8]
    deltas: Floats


def anchor_targets(
    anchors: Floats, truths: Floats, scale: tuple[float, ...], count: int, random: np.random.Generator
) -> AnchorTargets:
    """Judge anchors by the true boxes, and draw `count` of them, at most half on objects.

    An anchor is on an object if its IoU is 0.7 or more, or if no other overlaps that object more. Anchors that stick
    out of the image take part: the paper left them out, but small images have few others for large objects.

    Args:
        anchors: (A, 4).
        truths: (G, 4), G may be 0.
        scale: `plan.rpn_scale`.
        count: how many are judged; if there are too few objects, the rest are background.
        random: draws.
    """
    labels = np.full(len(anchors), IGNORED, np.int8)
    deltas = np.zeros((len(anchors), 4), np.float32)
    if len(truths):
        iou = overlaps(anchors, truths)
        best = iou.max(axis=1)
        labels[best < ANCHOR_BACKGROUND] = BACKGROUND
        labels[((iou == iou.max(axis=0)) & (iou > 0)).any(axis=1)] = OBJECT
        labels[best >= ANCHOR_OBJECT] = OBJECT
    else:
        labels[:] = BACKGROUND
    _keep(labels, OBJECT, count // 2, random)
    _keep(labels, BACKGROUND, count - int((labels == OBJECT).sum()), random)
    (chosen,) = np.nonzero(labels == OBJECT)
    if len(chosen):
        deltas[chosen] = encode(anchors[chosen], truths[iou[chosen].argmax(axis=1)], scale)
    return AnchorTargets(labels, deltas)


def _keep(labels: NDArray[np.int8], label: int, count: int, random: np.random.Generator) -> None:
    """Leave only so many of a label; the others are ignored."""
    (there,) = np.nonzero(labels == label)
    if len(there) > count:
        labels[random.choice(there, len(there) - count, replace=False)] = IGNORED


@dataclass(frozen=True, slots=True)
class RegionTargets:
    """Regions of one image and what the heads should say of them, the objects first.

    Args:
        boxes: float32 (R, 4).
        classes: int64 (R,), from 1, or 0 for background.
        deltas: float32 (R, 4), dy, dx, dh, dw over `BOX_SCALE`; 0 for background.
        truths: int64 (R,), which true box it is; of no meaning for background.
        weights: float32 (R,), 1, or 0 for a region that is there for the fixed number only.
    """

    boxes: Floats
    classes: Integers
    deltas: Floats
    truths: Integers
    weights: Floats


def region_targets(
    proposals: Floats, truths: Floats, classes: Integers, count: int, positive: float, random: np.random.Generator
) -> RegionTargets:
    """Draw regions for the heads from the proposals and the true boxes.

    There are always `count`: batch normalisation sees all of them, so what is missing is filled with copies of those
    drawn, not with nothing, and gets no weight in the loss.

    Args:
        proposals: (P, 4), P may be 0 only if there are true boxes.
        truths: (G, 4).
        classes: (G,), from 1.
        count: how many.
        positive: the share of objects, at most.
        random: draws.
    """
    candidates = np.concatenate([proposals, truths])
    iou = overlaps(candidates, truths) if len(truths) else np.zeros((len(candidates), 1), np.float32)
    best, which = iou.max(axis=1), iou.argmax(axis=1)
    objects = random.permutation(np.flatnonzero(best >= REGION_OBJECT))[: max(1, int(count * positive))]
    others = random.permutation(np.flatnonzero(best < REGION_OBJECT))[: count - len(objects)]
    drawn = np.concatenate([objects, others])
    chosen = np.resize(drawn, count)
    found = np.zeros(count, np.int64)
    deltas = np.zeros((count, 4), np.float32)
    is_object = best[chosen] >= REGION_OBJECT
    if is_object.any():
        matched = which[chosen[is_object]]
        found[is_object] = classes[matched]
        deltas[is_object] = encode(candidates[chosen[is_object]], truths[matched], BOX_SCALE)
    weights = (np.arange(count) < len(drawn)).astype(np.float32)
    return RegionTargets(candidates[chosen], found, deltas, which[chosen], weights)


def crop_masks(masks: NDArray[np.bool_], boxes: Floats, far_edge: int, size: int) -> Floats:
    """Masks as seen in regions: what the mask head should answer, in the places where `paste_masks` puts it.

    Args:
        masks: bool (N, height, width), one for each region.
        boxes: (N, 4).
        far_edge: of the plan.
        size: cells of a side.

    Returns:
        float32 (N, size, size), 1 where the bilinear interpolation at the middle of the cell is 0.5 or more, else 0.
    """
    low, high = boxes[:, :2], boxes[:, 2:] + far_edge
    steps = (np.arange(size) + 0.5) / size
    # of pixels, whose middles are at halves
    middle = low[:, None] + (high - low)[:, None] * steps[:, None] - 0.5
    limits = np.asarray([masks.shape[2] - 1, masks.shape[1] - 1])
    middle = middle.clip(0, limits)
    first = np.floor(middle).astype(np.int64)
    share = middle - first
    second = np.minimum(first + 1, limits)
    number = np.arange(len(boxes))[:, None, None]

    def at(rows: Integers, columns: Integers) -> NDArray[np.bool_]:
        return masks[number, rows[:, :, None, 1], columns[:, None, :, 0]]

    down, across = share[:, :, None, 1], share[:, None, :, 0]
    upper = at(first, first) * (1 - across) + at(first, second) * across
    lower = at(second, first) * (1 - across) + at(second, second) * across
    return np.asarray(upper * (1 - down) + lower * down >= 0.5, np.float32)
