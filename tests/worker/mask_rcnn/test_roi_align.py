import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.worker.mask_rcnn.files import plan_of
from tests.worker.mask_rcnn.reference import STRIDES, crop_and_resize, roi_align
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.roi_align import levels_of, pool

CANVAS = (256, 192)


def maps_of(images: int, channels: int = 5) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return [random.random((images, CANVAS[0] // s, CANVAS[1] // s, channels), np.float32) for s in STRIDES[:4]]


def regions_of(count: int) -> NDArray[np.float32]:
    """Of all sizes and shapes, some sticking out of the image, one without an area, one thin."""
    random = np.random.default_rng(1)
    corner = random.uniform(-8, 150, (count, 2))
    boxes = np.concatenate([corner, corner + np.exp(random.uniform(0, 5, (count, 2)))], axis=1)
    boxes[0] = [20, 20, 20, 30]
    boxes[1] = [0, 100, 190, 101]
    boxes[2] = [0, 0, 191, 255]
    return boxes.astype(np.float32)


def level_by_hand(plan: Plan, box: NDArray[np.float32]) -> int:
    """Of each layout's own formula, in its own coordinates."""
    left, top, right, bottom = (float(value) for value in box)
    if plan.layout == "matterport":
        height, width = (bottom - top) / (CANVAS[0] - 1), (right - left) / (CANVAS[1] - 1)
        side = math.sqrt(height * width) / (224 / math.sqrt(CANVAS[0] * CANVAS[1]))
        return min(5, 4 + round(math.log2(side))) if side > 0.01 else 2
    return min(5, max(2, math.floor(4 + math.log2(math.sqrt((right - left) * (bottom - top)) / 224 + 1e-8))))


@pytest.mark.parametrize("layout", ["matterport", "detectron2"])
def test_levels(layout: str) -> None:
    plan = plan_of(layout=layout)
    sides = np.asarray([3, 30, 79, 80, 111, 113, 158, 159, 223, 225, 447, 449, 800], np.float32)
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=1)
    found = levels_of(plan, boxes, CANVAS) + 2
    assert found.tolist() == [max(2, level_by_hand(plan, box)) for box in boxes]
    assert set(found) == {2, 3, 4, 5}


@pytest.mark.parametrize("layout", ["matterport", "detectron2"])
@pytest.mark.parametrize("bins", [7, 14])
def test_against_loops(layout: str, bins: int) -> None:
    plan = plan_of(layout=layout)
    maps, regions = maps_of(2), regions_of(40)
    images = np.repeat([0, 1], 20)
    found = pool(plan, maps, regions, images, bins, CANVAS)
    assert found.shape == (40, bins, bins, 5)
    assert found.dtype == np.float32
    levels = levels_of(plan, regions, CANVAS)
    assert len(set(levels.tolist())) > 1
    for index, (box, image, level) in enumerate(zip(regions.astype(np.float64), images, levels, strict=True)):
        top_first = box[[1, 0, 3, 2]]
        if layout == "matterport":
            unit = np.array([CANVAS[0] - 1, CANVAS[1] - 1] * 2)
            expected = crop_and_resize(maps[level][image], top_first / unit, bins)
        else:
            expected = roi_align(maps[level][image], top_first, bins, STRIDES[level])
        np.testing.assert_allclose(found[index], expected, atol=2e-5)


def test_a_slope_stays_a_slope() -> None:
    """The aligned variant gives the value at the middle of each bin where the map is linear: no half cell is lost."""
    plan = plan_of(layout="detectron2")
    rows, columns = np.meshgrid(np.arange(64.0), np.arange(48.0), indexing="ij")
    slope = np.stack([rows, columns], axis=-1)[np.newaxis].astype(np.float32)
    maps = [slope, *maps_of(1, channels=2)[1:]]
    box = np.asarray([[40, 60, 75, 102]], np.float32)
    found = pool(plan, maps, box, np.zeros(1, np.int64), 7, CANVAS)[0]
    # a pixel p of the image is at p / 4 - 0.5 among the cells
    np.testing.assert_allclose(found[:, 0, 0], (60 + (np.arange(7) + 0.5) * 6) / 4 - 0.5, rtol=1e-5)
    np.testing.assert_allclose(found[0, :, 1], (40 + (np.arange(7) + 0.5) * 5) / 4 - 0.5, rtol=1e-5)


def test_no_regions() -> None:
    assert pool(plan_of(), maps_of(1), regions_of(5)[:0], np.empty(0, np.int64), 7, CANVAS).shape == (0, 7, 7, 5)
