from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.colours import colour_of, text_colour_on
from shared.results import Detection
from worker.drawing import draw_detections
from worker.masks import InstanceMask

SIZE = (576, 768)
Pixels = NDArray[np.uint8]


def grey() -> Pixels:
    return np.full((*SIZE, 3), 128, np.uint8)


def disc(left: int, top: int, side: int) -> InstanceMask:
    rows, columns = np.ogrid[:side, :side]
    radius = side / 2
    return InstanceMask(left, top, (rows - radius + 0.5) ** 2 + (columns - radius + 0.5) ** 2 < radius**2)


def detection(mask: InstanceMask, label: str = "dog", score: float = 0.9) -> Detection:
    rows, columns = mask.pixels.shape
    box = (mask.left, mask.top, mask.left + columns, mask.top + rows)
    return Detection(label=label, class_id=16, score=score, box=box, mask=mask.to_rle(SIZE))


def tinted(colour: tuple[int, int, int], value: int = 128) -> tuple[int, ...]:
    return tuple(round(0.6 * value + 0.4 * channel) for channel in colour)


def test_an_object_is_filled_and_outlined_and_has_no_box() -> None:
    mask = disc(200, 150, 300)

    drawn = draw_detections(grey(), [detection(mask)], [mask])

    assert tuple(drawn[300, 350]) == tinted(colour_of("dog")), "the middle shows through"
    assert tuple(drawn[300, 200]) == colour_of("dog"), "the outline runs along the object"
    assert tuple(drawn[440, 205]) == (128, 128, 128), "a corner of the box is outside the object"


def test_masks_of_the_document_draw_the_same_as_those_at_hand() -> None:
    masks = [disc(100, 100, 200), disc(220, 150, 301)]
    found = [detection(mask, score=score) for mask, score in zip(masks, (0.8, 0.9), strict=True)]

    assert np.array_equal(draw_detections(grey(), found), draw_detections(grey(), found, masks))


def test_two_of_one_class_stay_apart() -> None:
    left, right = InstanceMask(200, 200, np.ones((200, 100), np.bool_)), disc(300, 200, 200)

    drawn = draw_detections(grey(), [detection(left, score=0.9), detection(right, score=0.8)], [left, right])

    row = {tuple(pixel) for pixel in drawn[300, 290:310].tolist()}
    assert {colour_of("dog"), text_colour_on(colour_of("dog")), tinted(colour_of("dog"))} <= row


def test_the_surest_lies_on_top_whatever_the_order() -> None:
    back, front = disc(100, 100, 300), disc(200, 150, 150)
    one, other = detection(back, "person", 0.5), detection(front, "dog", 0.9)

    drawn = draw_detections(grey(), [one, other], [back, front])

    assert np.array_equal(drawn, draw_detections(grey(), [other, one], [front, back]))
    assert tuple(drawn[225, 200]) == colour_of("dog")


def test_a_hole_is_not_filled() -> None:
    pixels = np.ones((200, 200), np.bool_)
    pixels[50:150, 50:150] = False
    mask = InstanceMask(200, 200, pixels)

    drawn = draw_detections(grey(), [detection(mask)], [mask])

    assert tuple(drawn[300, 300]) == (128, 128, 128)
    assert tuple(drawn[225, 225]) == tinted(colour_of("dog"))
    assert tuple(drawn[300, 249]) == colour_of("dog"), "the hole has an outline, too"


@pytest.mark.parametrize(
    "mask",
    [
        InstanceMask(0, 0, np.ones(SIZE, np.bool_)),
        InstanceMask(767, 575, np.ones((1, 1), np.bool_)),
        InstanceMask(0, 0, np.ones((1, 768), np.bool_)),
        InstanceMask(3, 5, np.eye(40, dtype=np.bool_)),
    ],
)
def test_masks_at_the_border_and_thin_ones_are_seen(mask: InstanceMask) -> None:
    drawn = draw_detections(grey(), [detection(mask)], [mask])

    assert (drawn == colour_of("dog")).all(axis=2).sum() > 0


@pytest.mark.parametrize("empty", [np.zeros((0, 0), np.bool_), np.zeros((5, 5), np.bool_)])
def test_an_object_without_pixels_gets_its_box(empty: NDArray[np.bool_]) -> None:
    found = Detection(label="dog", class_id=16, score=0.9, box=(200, 150, 500, 400))

    drawn = draw_detections(grey(), [found], [InstanceMask(200, 150, empty)])

    assert np.array_equal(drawn, draw_detections(grey(), [found]))


def test_neither_the_picture_nor_the_masks_change() -> None:
    pixels, mask = grey(), disc(200, 150, 300)
    before = mask.pixels.copy()

    draw_detections(pixels, [detection(mask)], [mask])

    assert (pixels == 128).all()
    assert np.array_equal(mask.pixels, before)


def test_as_many_masks_as_objects_are_wanted() -> None:
    mask = disc(0, 0, 10)
    calls: list[Callable[[], Pixels]] = [
        lambda: draw_detections(grey(), [detection(mask)], []),
        lambda: draw_detections(grey(), [], [mask]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="zip"):
            call()
