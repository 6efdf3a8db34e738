import cv2
import numpy as np
import pytest

from tests.worker.mask_rcnn.reference import pasted
from worker.models.mask_rcnn import paste
from worker.models.mask_rcnn.paste import paste_masks


def blob(seed: int, side: int = 28) -> np.ndarray:
    noise = np.random.default_rng(seed).random((side, side)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 3) * 4 - 1.5


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_whole_numbers_against_opencv(factor: int) -> None:
    """OpenCV repeats the edge; with a border of nothing around the mask it gives what we want."""
    mask = blob(0)
    side = 28 * factor
    around = cv2.resize(np.pad(mask, 1), (side + 2 * factor,) * 2, interpolation=cv2.INTER_LINEAR)
    expected = around[factor : factor + side, factor : factor + side]
    (found,) = paste_masks(mask[np.newaxis], np.asarray([[3, 7, 3 + side, 7 + side]], np.float32), (400, 300))
    assert (found.left, found.top, found.pixels.shape) == (3, 7, (side, side))
    clear = np.abs(expected - 0.5) > 1e-4
    assert (found.pixels == (expected >= 0.5))[clear].all()
    assert clear.mean() > 0.99
    assert 0.1 < found.pixels.mean() < 0.9


def test_any_box_against_opencvs_warp() -> None:
    """OpenCV rounds positions to 1/32 of a cell, so that a few pixels at the edge may differ."""
    box = [10.3, 20.8, 151.7, 97.2]
    mask = blob(1)
    across, down = (box[2] - box[0]) / 28, (box[3] - box[1]) / 28
    to_photo = np.asarray([[across, 0, box[0] + across / 2 - 0.5], [0, down, box[1] + down / 2 - 0.5]], np.float64)
    expected = cv2.warpAffine(mask, to_photo, (200, 120), flags=cv2.INTER_LINEAR) >= 0.5
    (found,) = paste_masks(mask[np.newaxis], np.asarray([box], np.float32), (120, 200))
    canvas = np.zeros((120, 200), np.bool_)
    found.paint(canvas)
    union, shared = (canvas | expected).sum(), (canvas & expected).sum()
    assert shared / union > 0.99
    assert union > 1000


@pytest.mark.parametrize("box", [[0, 0, 5.5, 3.2], [10.3, 4.7, 60, 50], [12.1, 12.2, 12.9, 13.8], [0, 0, 60, 50]])
def test_any_box_against_the_definition(box: list[float]) -> None:
    mask = blob(2)
    (found,) = paste_masks(mask[np.newaxis], np.asarray([box], np.float32), (50, 60))
    canvas = np.zeros((50, 60), np.bool_)
    found.paint(canvas)
    expected = pasted(mask, [float(np.float32(value)) for value in box], (50, 60))
    assert (canvas != expected).sum() <= 1  # float32 here, float64 there


def test_large_masks_are_pasted_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    masks, boxes = np.stack([blob(3), blob(4)]), np.asarray([[1, 2, 300, 200], [5, 6, 30.5, 77]], np.float32)
    whole = paste_masks(masks, boxes, (300, 400))
    monkeypatch.setattr(paste, "STRIP", 1000)
    for ours, expected in zip(paste_masks(masks, boxes, (300, 400)), whole, strict=True):
        assert (ours.pixels == expected.pixels).all()


def test_nothing() -> None:
    assert paste_masks(np.empty((0, 28, 28), np.float32), np.empty((0, 4), np.float32), (10, 10)) == ()


def test_masks_that_would_fill_the_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paste, "MOST_PIXELS", 250)
    masks = np.ones((4, 14, 14), np.float32)
    boxes = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [0, 0, 20, 20], [1, 1, 2, 2]], np.float32)
    found = paste_masks(masks, boxes, (20, 20))
    assert [mask.pixels.size for mask in found] == [100, 100, 0, 0]
