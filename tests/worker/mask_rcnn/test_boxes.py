import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.mask_rcnn.reference import greedy, shifted
from worker.models.mask_rcnn.boxes import BOX_SCALE, areas, clip, decode, encode, suppress


def random_boxes(count: int, seed: int = 0, side: float = 100) -> np.ndarray:
    random = np.random.default_rng(seed)
    corner = random.uniform(-10, side, (count, 2))
    return np.concatenate([corner, corner + random.uniform(1, side, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("scale", [BOX_SCALE, (1.0, 1.0, 1.0, 1.0)])
def test_round_trip(scale: tuple[float, ...]) -> None:
    boxes, targets = random_boxes(200), random_boxes(200, seed=1)
    deltas = encode(boxes, targets, scale)
    np.testing.assert_allclose(decode(boxes, deltas, scale, 20.0), targets, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(encode(boxes, boxes, scale), np.zeros((200, 4)), atol=1e-6)


def test_decoding_against_the_definition() -> None:
    boxes = random_boxes(50)
    deltas = np.random.default_rng(2).normal(0, 2, (50, 4)).astype(np.float32)
    largest = math.log(1000 / 16)
    found = decode(boxes, deltas * 5, BOX_SCALE, largest)
    for box, delta, ours in zip(boxes, deltas, found, strict=True):
        expected = shifted(box[[1, 0, 3, 2]].astype(np.float64), delta * 5, BOX_SCALE, largest)
        np.testing.assert_allclose(ours, expected[[1, 0, 3, 2]], rtol=1e-4, atol=1e-3)


def test_one_by_hand() -> None:
    """A box of 10 x 20 at (0, 0): down by half its height, right by a tenth of its width, twice as wide."""
    deltas = np.asarray([[0.5, 0.1, 0.0, math.log(2)]], np.float32)
    found = decode(np.asarray([[0, 0, 10, 20]], np.float32), deltas, (1.0, 1.0, 1.0, 1.0), 4.0)
    np.testing.assert_allclose(found, [[-4, 10, 16, 30]], rtol=1e-5)


def test_huge_deltas_stay_finite() -> None:
    found = decode(np.asarray([[0, 0, 10, 20]], np.float32), np.full((1, 4), 1e4, np.float32), BOX_SCALE, 20.0)
    assert np.isfinite(found).all()


def test_clipping_and_areas() -> None:
    boxes = np.asarray([[-5, -5, 5, 5], [2, 3, 50, 60], [90, 90, 95, 95]], np.float32)
    clipped = clip(boxes, np.asarray([0, 1, 40, 50], np.float32))
    assert clipped.tolist() == [[0, 1, 5, 5], [2, 3, 40, 50], [40, 50, 40, 50]]
    assert areas(clipped).tolist() == [20, 38 * 47, 0]
    assert areas(np.asarray([[5, 5, 1, 1]], np.float32)).tolist() == [0], "inside out"


@pytest.mark.parametrize("limit", [1, 5, 40, 1000])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_suppression_against_the_definition(threshold: float, limit: int) -> None:
    boxes = random_boxes(300, side=60)
    assert suppress(boxes, threshold, limit).tolist() == greedy(list(boxes.astype(np.float64)), threshold, limit)


def test_suppression_within_groups() -> None:
    boxes = random_boxes(200, side=40)
    groups = np.random.default_rng(3).integers(0, 4, 200)
    expected = sorted(
        np.flatnonzero(groups == group)[index]
        for group in range(4)
        for index in greedy(list(boxes[groups == group].astype(np.float64)), 0.4, 200)
    )
    assert suppress(boxes, 0.4, 200, groups).tolist() == expected
    assert suppress(boxes, 0.4, 7, groups).tolist() == expected[:7]
    assert len(suppress(boxes[:0], 0.4, 7, groups[:0])) == len(suppress(boxes[:0], 0.4, 7)) == 0


@given(st.integers(1, 60), st.integers(1, 20), st.floats(0.1, 0.9), st.integers(0, 5))
def test_the_best_stay_whatever_comes_behind(count: int, limit: int, threshold: float, seed: int) -> None:
    """Suppression looks at the first boxes first, and stops when enough stay."""
    boxes = random_boxes(count, seed, side=20)
    assert suppress(boxes, threshold, limit).tolist() == suppress(boxes, threshold, count).tolist()[:limit]
