from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.colours import colour_of
from shared.results import Detection
from worker import drawing
from worker.drawing import draw_detections, encode_jpeg, thumbnail

Pixels = NDArray[np.uint8]


def grey(height: int = 576, width: int = 768, value: int = 128) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def detection(
    label: str = "dog", score: float = 0.9, box: tuple[float, float, float, float] = (200, 150, 500, 400)
) -> Detection:
    return Detection(label=label, class_id=16, score=score, box=box)


def has_colour(pixels: Pixels, label: str) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = (pixels == colour_of(label)).all(axis=2)
    return mask


def chip_places(pixels: Pixels, detections: Sequence[Detection]) -> list[drawing.Rectangle]:
    height, width = pixels.shape[:2]
    style = drawing._Style.of(width, height)
    boxes = [style.fit(found.box, width, height) for found in detections]
    return [chip.place for chip in drawing._place_chips(detections, boxes, style, width, height)]


def test_nothing_found_changes_nothing() -> None:
    pixels = grey()

    drawn = draw_detections(pixels, [])

    assert np.array_equal(drawn, pixels)
    assert drawn is not pixels


def test_the_input_is_not_changed() -> None:
    pixels = grey()

    draw_detections(pixels, [detection()])

    assert (pixels == 128).all()


def test_the_line_runs_along_the_box_and_the_inside_stays() -> None:
    drawn = draw_detections(grey(), [detection(box=(200, 150, 500, 400))])

    for y, x in ((300, 200), (300, 499), (399, 350), (150, 480)):
        assert tuple(drawn[y, x]) == colour_of("dog"), (y, x)
    assert (drawn[160:390, 210:490] == 128).all()
    assert (drawn[410:] == 128).all()


@pytest.mark.parametrize("value", [0, 255, *colour_of("dog")])
def test_the_line_shows_on_any_background(value: int) -> None:
    background = np.full((576, 768, 3), colour_of("dog"), np.uint8) if 0 < value < 255 else grey(value=value)

    drawn = draw_detections(background, [detection()])

    row = drawn[300, 190:215].astype(int)
    steps = np.abs(np.diff(row, axis=0)).sum(axis=1)
    assert steps.max() > 250  # somewhere from the outside to the inside it changes hard


@pytest.mark.parametrize(("width", "height"), [(768, 576), (3000, 2000), (10_000, 500)])
def test_lines_and_letters_grow_with_the_picture(width: int, height: int) -> None:
    small, large = drawing._Style.of(width, height), drawing._Style.of(4 * width, 4 * height)

    assert large.line == pytest.approx(4 * small.line, abs=2)
    assert large.font == pytest.approx(4 * small.font, abs=2)


def test_a_tiny_picture_gets_boxes_without_text() -> None:
    drawn = draw_detections(grey(40, 60), [detection(box=(10, 10, 50, 30))])

    coloured = has_colour(drawn, "dog")
    assert coloured[10, 10:50].all()
    assert not coloured[:8].any()
    assert not coloured[13:27, 13:47].any()


@pytest.mark.parametrize("box", [(-50, -50, 9000, 9000), (0, 0, 0, 0), (767, 575, 768, 576), (300, 300, 300, 300)])
def test_boxes_at_and_beyond_the_border_stay_visible(box: tuple[float, float, float, float]) -> None:
    drawn = draw_detections(grey(), [detection(box=box)])

    ys, xs = np.nonzero(has_colour(drawn, "dog"))
    assert len(ys) > 20
    assert ys.max() < 576
    assert xs.max() < 768


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 100), (100, 1), (2, 3), (5, 500), (30, 30)])
def test_no_size_is_too_small(height: int, width: int) -> None:
    assert draw_detections(grey(height, width), [detection(box=(0, 0, width, height))]).shape == (height, width, 3)


def test_the_surest_lies_on_top_whatever_the_order() -> None:
    sure, unsure = detection("dog", 0.9), detection("cat", 0.3)

    one, other = draw_detections(grey(), [sure, unsure]), draw_detections(grey(), [unsure, sure])

    assert np.array_equal(one, other)
    assert tuple(one[300, 200]) == colour_of("dog")


def test_labels_of_the_same_box_do_not_cover_each_other() -> None:
    same = [detection(label, score) for label, score in (("dog", 0.9), ("cat", 0.8), ("horse", 0.7), ("sheep", 0.6))]

    places = chip_places(grey(), same)

    assert len(places) == 4
    assert overlap(places) == 0


def test_in_a_crowd_labels_stay_inside_and_apart() -> None:
    random = np.random.default_rng(7)
    corners = random.uniform((0, 0), (700, 520), (80, 2))
    crowd = [
        detection("person", 1 - index / 100, (x, y, x + 60, y + 50)) for index, (x, y) in enumerate(corners.tolist())
    ]

    places = np.array(chip_places(grey(), crowd))

    assert len(places) > 20
    assert (places[:, :2] >= 0).all()
    assert (places[:, 2:] <= (768, 576)).all()
    sizes = (places[:, 2] - places[:, 0]) * (places[:, 3] - places[:, 1])
    assert overlap([tuple(place) for place in places.tolist()]) < drawing._MOST_OVERLAP * sizes.sum()


def overlap(places: Sequence[drawing.Rectangle]) -> float:
    rectangles = np.array(places, float)
    shared = drawing._overlaps(rectangles, rectangles)
    return float(np.triu(shared, 1).sum())


@pytest.mark.parametrize(
    ("label", "drawn"),
    [
        ("dog", "dog"),
        ("Größe café", "Größe café"),
        ("собака", "собака"),
        ("cafe\u0301", "café"),  # decomposed
        ("dog \U0001f436", "dog"),
        ("犬", "class 16"),
        ("", "class 16"),
        ("a\nb\x00\u202e c", "ab c"),
    ],
)
def test_text_is_what_the_font_can_say(label: str, drawn: str) -> None:
    assert drawing.drawable(label, 16) == drawn


def test_accents_reach_the_picture() -> None:
    with_accent = drawing._text_image("é", 40, (255, 255, 255))
    without = drawing._text_image("e", 40, (255, 255, 255))

    assert not np.array_equal(with_accent, without)


def test_a_long_label_is_shortened_to_fit() -> None:
    image = drawing._label_image(detection("x" * 200), 15, 768, 576)

    assert image is not None
    assert 100 < image.shape[1] <= 768


def test_the_score_is_written() -> None:
    sure, unsure = (drawing._label_image(detection(score=score), 15, 768, 576) for score in (0.91, 0.19))

    assert sure is not None
    assert unsure is not None
    assert not np.array_equal(sure, unsure)


@pytest.mark.parametrize("size", [(48, 64), (900, 1200)])
def test_jpeg_keeps_red_red(size: tuple[int, int]) -> None:
    red = np.zeros((*size, 3), np.uint8)
    red[..., 0] = 250

    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(red), np.uint8), cv2.IMREAD_COLOR_RGB)

    assert decoded is not None
    assert decoded.shape == red.shape
    assert np.abs(decoded.astype(int) - red).max() <= 3


def test_a_picture_too_wide_for_jpeg_is_an_error() -> None:
    with pytest.raises(ValueError, match="JPEG"):
        encode_jpeg(np.zeros((1, 70_000, 3), np.uint8))


@pytest.mark.parametrize(
    ("shape", "small"),
    [((576, 768), (384, 512)), ((768, 576), (512, 384)), ((5, 5000), (1, 512)), ((512, 100), (512, 100))],
)
def test_thumbnail_keeps_the_shape(shape: tuple[int, int], small: tuple[int, int]) -> None:
    assert thumbnail(grey(*shape), 512).shape == (*small, 3)


def test_thumbnail_averages_and_never_enlarges() -> None:
    stripes = grey(1024, 1024, 0)
    stripes[:, ::2] = 255

    assert np.abs(thumbnail(stripes, 512).astype(int) - 127).max() <= 1
    assert thumbnail(grey(10, 20), 512).shape == (10, 20, 3)
