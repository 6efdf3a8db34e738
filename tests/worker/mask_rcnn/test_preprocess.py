import cv2
import numpy as np
import pytest
from PIL import Image

from shared.entries import MaskRcnnEntry
from tests.worker.mask_rcnn.files import entry_of, plan_of, scene
from worker.models.base import Placement
from worker.models.mask_rcnn.preprocess import bounds_of, prepare

MEAN = np.asarray([123.7, 116.8, 103.9], np.float32)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), Placement((480, 640), 0, 128, 1024, 768)),  # 800 / 480 would be too long
        ((600, 600), Placement((600, 600), 112, 112, 800, 800)),
        ((900, 1000), Placement((900, 1000), 12, 62, 1000, 900)),  # large enough, and not too large
        ((2000, 1000), Placement((2000, 1000), 256, 0, 512, 1024)),
        ((1, 3000), Placement((1, 3000), 0, 511, 1024, 1)),
    ],
)
def test_matterports_square(size: tuple[int, int], expected: Placement) -> None:
    plan = plan_of(min_side=800, max_side=1024)
    image = scene(max(size), max(size))[: size[0], : size[1]]
    prepared = prepare(plan, image)
    assert prepared.placement == expected
    assert prepared.batch.shape == (1, 1024, 1024, 3)
    bottom, right = expected.top + expected.height, expected.left + expected.width
    inner = prepared.batch[0, expected.top : bottom, expected.left : right] + MEAN
    np.testing.assert_allclose(inner, cv2.resize(image, (expected.width, expected.height)), atol=1e-4)
    around = prepared.batch.copy()
    around[0, expected.top : bottom, expected.left : right] = -MEAN
    assert (around == -MEAN).all(), "black, less the mean"
    assert bounds_of(plan, expected).tolist() == [expected.left, expected.top, right - 1, bottom - 1]


@pytest.mark.parametrize(
    ("size", "inner", "canvas"),
    [
        ((480, 640), (800, 1067), (800, 1344)),
        ((640, 480), (1067, 800), (1344, 800)),
        ((500, 1500), (444, 1333), (800, 1344)),
        ((700, 700), (800, 800), (800, 1344)),
        ((3000, 2250), (1067, 800), (1344, 800)),
        ((1000, 1), (1333, 1), (1344, 800)),
    ],
)
def test_detectron2s_shortest_edge(size: tuple[int, int], inner: tuple[int, int], canvas: tuple[int, int]) -> None:
    plan = plan_of(layout="detectron2", min_side=800, max_side=1333)
    image = scene(max(size), max(size))[: size[0], : size[1]]
    prepared = prepare(plan, image)
    assert prepared.placement == Placement(size, 0, 0, inner[1], inner[0])
    assert prepared.batch.shape == (1, *canvas, 3)
    expected = np.asarray(Image.fromarray(image).resize(inner[::-1], Image.Resampling.BILINEAR), np.float32)
    np.testing.assert_allclose(prepared.batch[0, : inner[0], : inner[1]], expected - MEAN, atol=1e-4)
    assert not prepared.batch[0, inner[0] :].any()
    assert not prepared.batch[0, :, inner[1] :].any()
    assert bounds_of(plan, prepared.placement).tolist() == [0, 0, inner[1], inner[0]]


def test_an_entry_says_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        entry_of(max_side=1000)
    with pytest.raises(ValueError, match="anchor_scales"):
        entry_of(anchor_scales=(32, 64, 128))
    assert entry_of(layout="detectron2", max_side=1333).task == "segmentation"
    plain = {"name": "a", "title": "A", "weights": {"name": "a.h5"}, "classes": {"name": "a.names"}}
    assert MaskRcnnEntry.model_validate(plain).backbone == "resnet101"
