import math

import numpy as np
import pytest

from tests.worker.mask_rcnn.files import plan_of
from tests.worker.mask_rcnn.reference import STRIDES, anchors_of
from worker.models.mask_rcnn.anchors import make_anchors


def test_values_by_hand() -> None:
    """Level 3 (stride 8) of a 128 pixel input, side 16: the second row's third cell is at (x 16, y 8)."""
    level = make_anchors(plan_of(), (128, 128))[1]
    assert level.shape == (16 * 16 * 3, 4)
    wide = 8 * math.sqrt(2)
    narrow = 8 / math.sqrt(2)
    cell = (1 * 16 + 2) * 3
    # ratios are width to height in Matterport's configuration, and the last pixel is inclusive
    expected: list[list[float]] = [
        [16 - narrow, 8 - wide, 16 + narrow - 1, 8 + wide - 1],
        [16 - 8, 8 - 8, 16 + 8 - 1, 8 + 8 - 1],
        [16 - wide, 8 - narrow, 16 + wide - 1, 8 + narrow - 1],
    ]
    np.testing.assert_allclose(level[cell : cell + 3], expected, rtol=1e-6)


def test_detectron2s_ratios_are_height_to_width() -> None:
    plan = plan_of(layout="detectron2", anchor_scales=(32, 64, 128, 256, 512))
    level = make_anchors(plan, (64, 96))[0]
    # the cell anchors that Detectron2 prints for a side of 32
    expected = [
        [-22.6274, -11.3137, 22.6274, 11.3137],
        [-16.0, -16.0, 16.0, 16.0],
        [-11.3137, -22.6274, 11.3137, 22.6274],
    ]
    np.testing.assert_allclose(level[:3], expected, atol=1e-4)


@pytest.mark.parametrize("layout", ["matterport", "detectron2"])
def test_all_against_loops(layout: str) -> None:
    plan = plan_of(layout=layout, anchor_ratios=(0.25, 1, 3), min_side=96, max_side=192)
    canvas = (192, 192) if layout == "matterport" else (96, 160)
    ratios = (0.25, 1.0, 3.0) if layout == "matterport" else (4.0, 1.0, 1 / 3)
    found = make_anchors(plan, canvas)
    assert len(found) == 5
    for level, boxes in enumerate(found):
        rows, columns = math.ceil(canvas[0] / STRIDES[level]), math.ceil(canvas[1] / STRIDES[level])
        expected = np.array(anchors_of(plan, rows, columns, ratios, level=level))[:, [1, 0, 3, 2]]
        expected[:, 2:] -= plan.far_edge
        np.testing.assert_allclose(boxes, expected, rtol=1e-5, atol=1e-4)


def test_how_many_there_are_in_matterports_coco_network() -> None:
    plan = plan_of(anchor_scales=(32, 64, 128, 256, 512), min_side=800, max_side=1024)
    assert sum(len(level) for level in make_anchors(plan, plan.canvas((480, 640)))) == 261_888
