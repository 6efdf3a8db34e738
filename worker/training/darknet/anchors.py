"""Anchors from the boxes to be found: k-means with the distance 1 - IoU (YOLO9000, arXiv 1612.08242, section 2)."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.training.datasets.description import Sample

Sides = NDArray[np.float32]

#: rounds of k-means; it converges long before
MAX_ROUNDS: Final = 300


def shape_iou(sides: Sides, anchors: Sides) -> Sides:
    """IoU of boxes with the same centre.

    Args:
        sides: (N, 2) width and height.
        anchors: (K, 2) in the same unit.

    Returns:
        float32 (N, K).
    """
    shared = np.minimum(sides[:, None], anchors[None]).prod(axis=2)
    union = sides.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared
    return np.asarray(shared / union, np.float32)


def box_sides(samples: Sequence[Sample], sizes: Sequence[tuple[int, int]], target: tuple[int, int]) -> Sides:
    """Width and height of all boxes as they are in the network's input, letterboxed: float32 (N, 2).

    Args:
        samples: the training images.
        sizes: height and width of each.
        target: height and width of the input.
    """
    found = [np.empty((0, 2), np.float32)]
    for sample, (height, width) in zip(samples, sizes, strict=True):
        clipped = sample.boxes.clip(0, np.asarray([width, height, width, height], np.float32))
        found.append(
            (clipped[:, 2:] - clipped[:, :2])[~sample.crowd] * np.float32(min(target[0] / height, target[1] / width))
        )
    sides = np.concatenate(found)
    return sides[(sides >= 1).all(axis=1)]


def find_anchors(sides: Sides, count: int, seed: int) -> Sides:
    """Find `count` anchors for boxes of these sides.

    Args:
        sides: (N, 2) width and height in input pixels, all above 0.
        count: how many.
        seed: of the first guesses.

    Returns:
        float32 (count, 2), growing by area. With fewer different boxes than anchors, the boxes and scaled copies.

    Raises:
        ValueError: there are no boxes.
    """
    if not len(sides):
        raise ValueError("anchors need at least one box")
    random = np.random.default_rng(seed)
    different = np.unique(sides.astype(np.float32), axis=0)
    if len(different) <= count:
        factors = 1 + 0.1 * np.arange(-(-count // len(different)), dtype=np.float32)
        anchors = np.concatenate([different * factor for factor in factors])[:count]
        return _by_area(anchors)
    anchors = _first_guess(different, count, random)
    nearest = np.full(len(sides), -1)
    for _ in range(MAX_ROUNDS):
        before, nearest = nearest, shape_iou(sides, anchors).argmax(axis=1)
        if (nearest == before).all():
            break
        for index in range(count):
            if (nearest == index).any():
                # the median: outliers do not pull, and it is as good for IoU
                anchors[index] = np.median(sides[nearest == index], axis=0)
    return _by_area(anchors)


def _first_guess(sides: Sides, count: int, random: np.random.Generator) -> Sides:
    """k-means++: each next one is drawn from those far from all before."""
    chosen = [sides[random.integers(len(sides))]]
    while len(chosen) < count:
        distance = 1 - shape_iou(sides, np.stack(chosen)).max(axis=1).astype(np.float64)
        weights = np.maximum(distance, 0) ** 2
        chosen.append(sides[random.choice(len(sides), p=weights / weights.sum())])
    return np.stack(chosen).astype(np.float32)


def _by_area(anchors: Sides) -> Sides:
    return np.asarray(anchors[np.argsort(anchors.prod(axis=1), kind="stable")], np.float32)
