"""What is drawn of a classification."""

import tracemalloc

import cv2
import numpy as np
import pytest

from shared.colours import colour_of
from shared.results import Classification
from worker import heatmaps
from worker.captions import draw_caption
from worker.heatmaps import draw_heat


def classes(*scores: float, label: str = "African elephant") -> list[Classification]:
    return [
        Classification(label=f"{label} {number}", class_id=number, score=score) for number, score in enumerate(scores)
    ]


def bar_of(drawn: np.ndarray, label: str) -> int:
    """The length of a class' bar: the most pixels of its colour in a row."""
    return int((drawn == colour_of(label)).all(axis=2).sum(axis=1).max())


def test_the_bars_are_as_long_as_the_scores() -> None:
    pixels = np.full((600, 800, 3), 128, np.uint8)
    found = classes(0.8, 0.2, 0.0)
    drawn = draw_caption(pixels, found)
    assert (pixels == 128).all()
    first, second, third = (bar_of(drawn, each.label) for each in found)
    assert first == pytest.approx(4 * second, abs=4)
    assert first > 50
    assert third == 0


def test_the_plate_lies_in_the_lower_left_corner() -> None:
    pixels = np.full((600, 800, 3), 128, np.uint8)
    changed = (draw_caption(pixels, classes(0.9, 0.05)) != pixels).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.max(), columns.min()) == (599, 0)
    assert rows.min() > 300
    assert columns.max() < 0.7 * 800


def test_the_letters_can_be_read_on_any_photo() -> None:
    for ground in (0, 255):
        drawn = draw_caption(np.full((600, 800, 3), ground, np.uint8), classes(0.9))
        plate = drawn[590:, :10].mean()
        assert plate < 80
        assert (drawn == 255).all(axis=2)[500:, :300].any(), "white letters"


@pytest.mark.parametrize("size", [(1, 1), (40, 40), (12, 3000), (3000, 12), (64, 64), (90, 120)])
def test_small_and_narrow_pictures(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 200, np.uint8)
    drawn = draw_caption(pixels, classes(0.9, 0.1, label="a very long name of a thing that fits nowhere"))
    assert drawn.shape == pixels.shape
    covered = (drawn != pixels).any(axis=2).mean()
    assert covered <= 0.5


def test_no_class() -> None:
    pixels = np.full((300, 300, 3), 9, np.uint8)
    np.testing.assert_array_equal(draw_caption(pixels, []), pixels)


def test_heat_is_lighter_and_coloured_and_cold_is_grey() -> None:
    pixels = np.tile(np.asarray((180, 60, 20), np.uint8), (50, 100, 1))
    heat = np.zeros((50, 100), np.float32)
    heat[:, 50:] = np.linspace(0, 1, 50)
    drawn = draw_heat(pixels, heat)
    assert drawn.shape == pixels.shape
    assert np.ptp(drawn[:, :50], axis=2).max() == 0, "grey"
    hot = drawn[25, -1].astype(int)
    assert hot[0] > hot[2] + 50, "yellow"
    lightness = cv2.cvtColor(drawn, cv2.COLOR_RGB2LAB)[25, :, 0].astype(int)
    assert lightness[-1] > lightness[0] + 60
    assert (pixels == (180, 60, 20)).all()


def test_a_large_photo_is_drawn_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (1501, 2003, 3), np.uint8)
    heat = random.random((1501, 2003), np.float32)
    tracemalloc.start()
    try:
        drawn = draw_heat(pixels, heat)
        assert tracemalloc.get_traced_memory()[1] < 100e6, "floats of the whole photo take twice as much"
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(heatmaps, "_STRIP", pixels.size)
    np.testing.assert_array_equal(drawn, draw_heat(pixels, heat))
