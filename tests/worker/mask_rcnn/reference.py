"""All that stands between the networks once more, slowly: loops, float64, straight from the papers and definitions.

Matterport's half works in its own coordinates (shares of the image, last pixel inclusive), not in ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from worker.models.base import Placement
from worker.models.mask_rcnn.plan import Plan

STRIDES = (4, 8, 16, 32, 64)
Array = Any
Head = Callable[[Array], list[Array]]


@dataclass
class Found:
    """left, top, right, bottom in pixels of the photo; its score; its class from 1; its pixels."""

    box: list[float]
    score: float
    label: int
    mask: Array


def iou(a: Array, b: Array) -> float:
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(height, 0) * max(width, 0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(shared / both) if both > 0 else 0.0


def greedy(boxes: list[Array], threshold: float, limit: int) -> list[int]:
    """Indices of boxes, the best first, that no better one that stays overlaps by more than the threshold."""
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(iou(box, boxes[other]) <= threshold for other in kept):
            kept.append(index)
        if len(kept) == limit:
            break
    return kept


def shifted(box: Array, delta: Array, scale: tuple[float, ...], largest: float = math.inf) -> Array:
    """A box (y1, x1, y2, x2) corrected by dy, dx, log dh, log dw."""
    y1, x1, y2, x2 = box
    dy, dx, dh, dw = (float(value) * factor for value, factor in zip(delta, scale, strict=True))
    height, width = y2 - y1, x2 - x1
    y, x = y1 + height / 2 + dy * height, x1 + width / 2 + dx * width
    height, width = height * math.exp(min(dh, largest)), width * math.exp(min(dw, largest))
    return np.array([y - height / 2, x - width / 2, y + height / 2, x + width / 2])


def inside(box: Array, window: Array) -> Array:
    low, high = [window[0], window[1]] * 2, [window[2], window[3]] * 2
    return np.minimum(np.maximum(box, low), high)


def anchors_of(plan: Plan, rows: int, columns: int, ratios: tuple[float, ...], *, level: int) -> list[Array]:
    """(y1, x1, y2, x2) in pixels; ratios are width to height."""
    found = []
    for row in range(rows):
        for column in range(columns):
            for ratio in ratios:
                side = plan.anchor_scales[level]
                height, width = side / math.sqrt(ratio), side * math.sqrt(ratio)
                y, x = row * STRIDES[level], column * STRIDES[level]
                found.append(np.array([y - height / 2, x - width / 2, y + height / 2, x + width / 2]))
    return found


def bilinear(features: Array, y: float, x: float) -> Array:
    """Between cells; positions are within the map."""
    rows, columns, _ = features.shape
    top, left = min(int(y), rows - 1), min(int(x), columns - 1)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    upper = features[top, left] * (1 - (x - left)) + features[top, right] * (x - left)
    lower = features[bottom, left] * (1 - (x - left)) + features[bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def crop_and_resize(features: Array, box: Array, bins: int) -> Array:
    """TensorFlow's, of a box in shares of the map's extent from first to last cell."""
    rows, columns, channels = features.shape
    found = np.zeros((bins, bins, channels))
    for i in range(bins):
        for j in range(bins):
            y = (box[0] + (box[2] - box[0]) * i / (bins - 1)) * (rows - 1)
            x = (box[1] + (box[3] - box[1]) * j / (bins - 1)) * (columns - 1)
            if 0 <= y <= rows - 1 and 0 <= x <= columns - 1:
                found[i, j] = bilinear(features, y, x)
    return found


def roi_align(features: Array, box: Array, bins: int, stride: int) -> Array:
    """Detectron2's (aligned, sampling ratio 0), of a box in pixels."""
    rows, columns, channels = features.shape
    y1, x1, y2, x2 = np.asarray(box) / stride - 0.5
    down, across = max(1, math.ceil((y2 - y1) / bins)), max(1, math.ceil((x2 - x1) / bins))
    found = np.zeros((bins, bins, channels))
    for i in range(bins):
        for j in range(bins):
            for k in range(down):
                for m in range(across):
                    y = y1 + (i + (k + 0.5) / down) * (y2 - y1) / bins
                    x = x1 + (j + (m + 0.5) / across) * (x2 - x1) / bins
                    if -1 <= y <= rows and -1 <= x <= columns:
                        y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
                        found[i, j] += bilinear(features, y, x)
    return found / (down * across)


def softmax(logits: Array) -> Array:
    powers = np.exp(np.asarray(logits, np.float64) - logits.max())
    return powers / powers.sum()


def pasted(mask: Array, box: list[float], size: tuple[int, int]) -> Array:
    """A mask over its box: nothing around it, cells and pixels by their centres; bool of the photo's size."""
    left, top, right, bottom = box
    padded = np.pad(mask.astype(np.float64), 1)[..., np.newaxis]
    found = np.zeros(size, np.bool_)
    for y in range(int(top), min(size[0], math.ceil(bottom))):
        for x in range(int(left), min(size[1], math.ceil(right))):
            row = (y + 0.5 - top) / (bottom - top) * mask.shape[0] + 0.5
            column = (x + 0.5 - left) / (right - left) * mask.shape[1] + 0.5
            if 0 <= row <= padded.shape[0] - 1 and 0 <= column <= padded.shape[1] - 1:
                found[y, x] = bilinear(padded, row, column)[0] >= 0.5
    return found


@dataclass
class Steps:
    """What the networks give for one photo, and the networks that come later."""

    plan: Plan
    placement: Placement
    canvas: tuple[int, int]
    maps: list[Array]  # P2 to P5, (rows, columns, channels)
    logits: Array
    deltas: Array
    box_head: Head
    mask_head: Head

    def all_anchors(self, ratios: tuple[float, ...]) -> list[list[Array]]:
        return [
            anchors_of(self.plan, math.ceil(self.canvas[0] / s), math.ceil(self.canvas[1] / s), ratios, level=level)
            for level, s in enumerate(STRIDES)
        ]


def detect(steps: Steps, *, score: float, overlap: float, limit: int) -> list[Found]:
    """The whole of it, as the layout's makers do it."""
    return (_matterport if steps.plan.layout == "matterport" else _detectron2)(steps, score, overlap, limit)


def _chosen(candidates: list[tuple[float, int, Array]], overlap: float, limit: int) -> list[tuple[float, int, Array]]:
    """Suppression within each class, then the best of all."""
    found = []
    for label in {each[1] for each in candidates}:
        of_class = sorted((each for each in candidates if each[1] == label), key=lambda each: -each[0])
        found += [of_class[index] for index in greedy([each[2] for each in of_class], overlap, limit)]
    return sorted(found, key=lambda each: -each[0])[:limit]


def _matterport(steps: Steps, score: float, overlap: float, limit: int) -> list[Found]:
    plan, (height, width) = steps.plan, steps.canvas
    unit = np.array([height - 1, width - 1] * 2, np.float64)
    far = np.array([0, 0, 1, 1])
    # by the logits, not the probabilities: those are 1 from some point on
    order = np.argsort([each[0] - each[1] for each in steps.logits], kind="stable")[:6000]
    anchors = [(box - far) / unit for level in steps.all_anchors((0.5, 1, 2)) for box in level]
    boxes = [
        inside(shifted(anchors[index], steps.deltas[index], (0.1, 0.1, 0.2, 0.2)), [0, 0, 1, 1]) for index in order
    ]
    regions = [boxes[index] for index in greedy(boxes, 0.7, plan.proposals)]

    def pool(box: Array, bins: int) -> Array:
        side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]) * height * width)
        level = min(5, max(2, 4 + round(math.log2(max(side, 1e-6) / 224))))
        return crop_and_resize(steps.maps[level - 2], box, bins)

    logits, deltas = steps.box_head(np.stack([pool(box, 7) for box in regions]).astype(np.float32))
    place = steps.placement
    window = (np.array([place.top, place.left, place.top + place.height, place.left + place.width]) - far) / unit
    candidates = []
    for region, logit, delta in zip(regions, logits, deltas, strict=True):
        probabilities = softmax(logit)
        label = int(probabilities.argmax())
        box = inside(shifted(region, delta[label], (0.1, 0.1, 0.2, 0.2)), window)
        if label and probabilities[label] > score and box[2] > box[0] and box[3] > box[1]:
            candidates.append((float(probabilities[label]), label, box))
    found = []
    for probability, label, box in _chosen(candidates, overlap, limit):
        (masks,) = steps.mask_head(pool(box, 14)[np.newaxis].astype(np.float32))
        found.append(_on_photo(steps, box * unit + far, probability, label, masks[0, :, :, label]))
    return found


def _detectron2(steps: Steps, score: float, overlap: float, limit: int) -> list[Found]:
    plan, place, largest = steps.plan, steps.placement, math.log(1000 / 16)
    window = [0, 0, place.height, place.width]
    objectness = steps.logits[:, 1] - steps.logits[:, 0]
    best: list[tuple[float, Array]] = []
    start = 0
    for level in steps.all_anchors((2.0, 1.0, 0.5)):  # height to width: 0.5, 1, 2
        scores, deltas = objectness[start : start + len(level)], steps.deltas[start : start + len(level)]
        start += len(level)
        order = np.argsort(-scores, kind="stable")[:1000]
        boxes = [inside(shifted(level[index], deltas[index], (1, 1, 1, 1), largest), window) for index in order]
        there = [k for k, box in enumerate(boxes) if box[2] > box[0] and box[3] > box[1]]
        kept = [there[index] for index in greedy([boxes[k] for k in there], 0.7, len(there))]
        best += [(float(scores[order[k]]), boxes[k]) for k in kept]
    regions = [box for _, box in sorted(best, key=lambda each: -each[0])[: plan.proposals]]

    def pool(box: Array, bins: int) -> Array:
        side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        level = min(5, max(2, math.floor(4 + math.log2(side / 224 + 1e-8))))
        return roi_align(steps.maps[level - 2], box, bins, STRIDES[level - 2])

    logits, deltas = steps.box_head(np.stack([pool(box, 7) for box in regions]).astype(np.float32))
    candidates = []
    for region, logit, delta in zip(regions, logits, deltas, strict=True):
        probabilities = softmax(logit)
        for label in range(1, plan.classes):
            box = inside(shifted(region, delta[label], (0.1, 0.1, 0.2, 0.2), largest), window)
            if probabilities[label] > score and box[2] > box[0] and box[3] > box[1]:
                candidates.append((float(probabilities[label]), label, box))
    found = []
    for probability, label, box in _chosen(candidates, overlap, limit):
        (masks,) = steps.mask_head(pool(box, 14)[np.newaxis].astype(np.float32))
        found.append(_on_photo(steps, box, probability, label, masks[0, :, :, label]))
    return found


def _on_photo(steps: Steps, box: Array, score: float, label: int, logits: Array) -> Found:
    place = steps.placement
    height, width = place.size
    down, across = height / place.height, width / place.width
    y1, x1 = max(0, (box[0] - place.top) * down), max(0, (box[1] - place.left) * across)
    y2, x2 = min(height, (box[2] - place.top) * down), min(width, (box[3] - place.left) * across)
    mask = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return Found([x1, y1, x2, y2], score, label, pasted(mask, [x1, y1, x2, y2], (height, width)))
