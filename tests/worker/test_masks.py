from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from shared.results import Rle
from worker.masks import InstanceMask, covered_percent


def decode(rle: Rle) -> NDArray[np.uint8]:
    return np.asarray(coco.decode({"size": list(rle.size), "counts": rle.counts.encode()}))


@pytest.mark.parametrize(
    ("left", "top", "height", "width"), [(0, 0, 1, 1), (3, 2, 4, 5), (0, 0, 9, 13), (5, 0, 9, 3), (12, 8, 1, 1)]
)
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_run_lengths_are_those_of_pycocotools(left: int, top: int, height: int, width: int, share: float) -> None:
    pixels = np.random.default_rng(1).random((height, width)) < share
    whole = np.zeros((9, 13), np.uint8)
    whole[top : top + height, left : left + width] = pixels
    mask = InstanceMask(left, top, pixels)
    rle = mask.to_rle((9, 13))
    assert (decode(rle) == whole).all()
    encoded: Any = coco.encode(np.asfortranarray(whole))
    assert rle.counts == encoded["counts"].decode()
    assert mask.area == whole.sum()
    back = InstanceMask.from_rle(rle)
    assert (decode(back.to_rle((9, 13))) == whole).all()


def test_an_empty_mask() -> None:
    empty = InstanceMask(4, 4, np.zeros((0, 0), np.bool_))
    assert empty.area == 0
    assert decode(empty.to_rle((9, 13))).sum() == 0
    assert covered_percent([empty], (9, 13)) == 0
    assert covered_percent([], (9, 13)) == 0


def test_what_two_objects_share_is_counted_once() -> None:
    square = np.ones((2, 2), np.bool_)
    assert covered_percent([InstanceMask(0, 0, square), InstanceMask(1, 1, square)], (10, 10)) == 7
