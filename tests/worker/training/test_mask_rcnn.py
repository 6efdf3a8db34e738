"""Targets and losses of Mask R-CNN against cases worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.training.mask_rcnn_shapes import LABELS, SIDE, entry, picture
from worker.models.mask_rcnn.boxes import BOX_SCALE, decode
from worker.models.mask_rcnn.paste import paste_masks
from worker.models.mask_rcnn.plan import MASK_SIZE, Plan
from worker.training.config import Augmentation
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.batches import MAX_OBJECTS, Batches, true_boxes
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.pictures import augment, masked, place
from worker.training.mask_rcnn.targets import (
    BACKGROUND,
    IGNORED,
    OBJECT,
    anchor_targets,
    crop_masks,
    overlaps,
    region_targets,
)
from worker.training.pictures import Picture

Floats = NDArray[np.float32]
PLAN = Plan.of(entry(), len(LABELS))
ONES = (1.0, 1.0, 1.0, 1.0)


def boxes_of(*boxes: tuple[float, float, float, float]) -> Floats:
    return np.asarray(boxes, np.float32)


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_overlaps() -> None:
    boxes = boxes_of((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 20, 20))
    wanted = np.asarray([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(overlaps(boxes, boxes), wanted, rtol=1e-6)


def test_anchors_are_judged_by_their_overlap() -> None:
    truths = boxes_of((0, 0, 100, 100), (200, 200, 210, 210))
    anchors = boxes_of(
        (0, 0, 100, 80),  # 0.8: an object
        (0, 0, 100, 50),  # 0.5: neither
        (0, 0, 100, 20),  # 0.2: background
        (200, 200, 220, 220),  # 0.25, but the best there is for the second object
        (300, 300, 310, 310),  # nothing
    )
    found = anchor_targets(anchors, truths, ONES, 256, random())
    assert found.labels.tolist() == [OBJECT, IGNORED, BACKGROUND, OBJECT, BACKGROUND]
    # from the middle (50, 40) to (50, 50) in units of 80 pixels; 100 / 80 times as high
    np.testing.assert_allclose(found.deltas[0], [10 / 80, 0, math.log(100 / 80), 0], atol=1e-6)
    np.testing.assert_allclose(found.deltas[3], [-5 / 20, -5 / 20, math.log(0.5), math.log(0.5)], atol=1e-6)
    assert not found.deltas[[1, 2, 4]].any()
    scaled = anchor_targets(anchors, truths, BOX_SCALE, 256, random())
    np.testing.assert_allclose(scaled.deltas * BOX_SCALE, found.deltas, atol=1e-6)


def test_half_of_the_drawn_anchors_at_most_are_objects() -> None:
    anchors = np.concatenate([np.tile(boxes_of((0, 0, 10, 10)), (50, 1)), np.tile(boxes_of((50, 0, 60, 10)), (50, 1))])
    found = anchor_targets(anchors, boxes_of((0, 0, 10, 10)), ONES, 20, random())
    assert (found.labels[:50] == OBJECT).sum() == 10
    assert (found.labels[50:] == BACKGROUND).sum() == 10
    assert (found.labels == IGNORED).sum() == 80
    few = anchor_targets(anchors[49:], boxes_of((0, 0, 10, 10)), ONES, 20, random())
    assert ((few.labels == OBJECT).sum(), (few.labels == BACKGROUND).sum()) == (1, 19), "background fills up"
    none = anchor_targets(anchors, np.zeros((0, 4), np.float32), ONES, 20, random())
    assert ((none.labels == OBJECT).sum(), (none.labels == BACKGROUND).sum()) == (0, 20)


def test_regions_are_drawn_one_third_objects() -> None:
    truths, classes = boxes_of((0, 0, 10, 10), (50, 50, 70, 70)), np.asarray([3, 1])
    near, far = boxes_of((0, 0, 10, 8)), boxes_of((0, 0, 10, 4))
    proposals = np.concatenate([np.tile(near, (20, 1)), np.tile(far, (20, 1))])
    found = region_targets(proposals, truths, classes, 12, 1 / 3, random())
    assert (found.classes > 0).tolist() == [True] * 4 + [False] * 8
    assert found.weights.all()
    objects = found.classes > 0
    assert (found.classes[objects] == classes[found.truths[objects]]).all()
    np.testing.assert_allclose(
        decode(found.boxes, found.deltas, BOX_SCALE, 20.0)[objects], truths[found.truths[objects]], atol=1e-4
    )
    np.testing.assert_array_equal(found.boxes[~objects], np.tile(far, (8, 1)))
    assert not found.deltas[~objects].any()


def test_true_boxes_are_regions_too_and_copies_fill_up() -> None:
    truths = boxes_of((0, 0, 10, 10))
    found = region_targets(boxes_of((50, 50, 60, 60)), truths, np.asarray([2]), 6, 1 / 3, random())
    assert found.classes.tolist() == [2, 0, 2, 0, 2, 0]
    assert found.weights.tolist() == [1, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(found.boxes[0], truths[0])
    none = region_targets(boxes_of((0, 0, 5, 5)), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 3, 0.5, random())
    assert not none.classes.any()
    assert none.weights.tolist() == [1, 0, 0]


def test_masks_are_cropped_as_they_are_pasted() -> None:
    mask = np.zeros((1, 40, 40), np.bool_)
    mask[0, 10:20, 10:30] = True
    # a region of twice the width to the left: its right half is the object
    found = crop_masks(mask, boxes_of((-10, 10, 29, 19)), 1, 4)
    np.testing.assert_array_equal(found[0], [[0, 0, 1, 1]] * 4)
    assert crop_masks(mask, boxes_of((10, 10, 29, 19)), 1, 28).all()
    assert crop_masks(mask, boxes_of((10, 10, 30, 20)), 0, 28).all(), "the same without a far edge"
    for seed in range(10):
        made = picture(seed)
        assert made.masks is not None
        boxes = true_boxes(PLAN, made)
        cropped = crop_masks(made.masks, boxes, PLAN.far_edge, MASK_SIZE)
        for pasted, truth in zip(paste_masks(cropped, made.boxes, (SIDE, SIDE)), made.masks, strict=True):
            whole = np.zeros((SIDE, SIDE), np.bool_)
            rows, columns = pasted.pixels.shape
            whole[pasted.top : pasted.top + rows, pasted.left : pasted.left + columns] = pasted.pixels
            assert (whole & truth).sum() / (whole | truth).sum() > 0.94


def test_pictures_are_placed_as_for_inference() -> None:
    pixels = np.full((60, 120, 3), 200, np.uint8)
    mask = np.zeros((1, 60, 120), np.bool_)
    mask[0, 10:50, 20:60] = True
    source = Picture(pixels, boxes_of((20, 10, 60, 50)), np.asarray([0]), mask)
    plan = replace(PLAN, min_side=64, max_side=128)
    # twice as high is wished, but then it would be too wide: by 128 / 120, and in the middle
    placed = place(plan, source)
    np.testing.assert_allclose(placed.boxes, [[20 * 16 / 15, 32 + 10 * 16 / 15, 64, 32 + 50 * 16 / 15]], atol=1)
    assert placed.pixels.shape == (128, 128, 3)
    assert not placed.pixels[:31].any()
    assert (placed.pixels[34:94, 1:-1] == 200).all()
    mirrored = place(plan, source, mirrored=True)
    assert mirrored.masks is not None
    assert placed.masks is not None
    np.testing.assert_array_equal(mirrored.masks, placed.masks[..., ::-1])
    assert not len(place(plan, source, shift=(-0.45, 0)).boxes), "what has left the canvas is no object"
    assert len(place(plan, source, shift=(-0.2, 0)).boxes) == 1
    with pytest.raises(TrainingError, match="masks"):
        masked(replace(source, masks=None))
    empty = masked(Picture(pixels, np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
    assert not len(augment(plan, empty, Augmentation(), random()).boxes)


def test_batches_are_the_same_for_the_same_seed() -> None:
    config = MaskRcnnConfig(batch_size=3, seed=5)
    batches = Batches(PLAN, picture, 4, config)
    assert len(batches) == 2
    first, again = list(batches.epoch(2)), list(Batches(PLAN, picture, 4, config).epoch(2))
    for one, other in zip(first, again, strict=True):
        for name in ("images", "labels", "deltas", "truths", "classes", "masks"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (first[0].images != next(iter(batches.epoch(3))).images).any()
    assert first[0].classes.shape == (3, MAX_OBJECTS)
    there = first[0].classes > 0
    assert (there.any(axis=1)).all()
    np.testing.assert_array_equal(first[0].masks.any(axis=(2, 3)), there)
    assert ((first[0].labels == OBJECT).sum(axis=1) > 0).all()
    assert ((first[0].labels != IGNORED).sum(axis=1) == 256).all()
