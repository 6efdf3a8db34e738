from itertools import combinations

import pytest

from shared.colours import BLACK, PALETTE, WHITE, Colour, colour_of, contrast, css, text_colour_on


def test_colours_are_the_same_on_every_machine() -> None:
    # pinned: the page and old pictures would disagree if these moved
    pinned = {
        "person": "#ff6450",
        "dog": "#ffd200",
        "bicycle": "#417dff",
        "RBC": "#f082ff",
        "犬": "#00d7ff",
        "": "#ff6450",
    }
    assert {label: css(colour_of(label)) for label in pinned} == pinned


def test_case_and_other_data_sets_names_do_not_matter() -> None:
    assert colour_of("Person") == colour_of("person") == colour_of("pedestrian")
    assert colour_of("motorbike") == colour_of("motorcycle")


def test_what_meets_in_one_picture_differs() -> None:
    street = ["person", "car", "bicycle", "truck", "bus", "dog", "horse", "traffic light", "motorcycle", "cat"]

    assert len({colour_of(label) for label in street}) == len(street)


def test_unknown_labels_use_the_whole_palette() -> None:
    assert {colour_of(f"class {number}") for number in range(500)} == set(PALETTE)


def test_palette_has_no_twins_and_stands_out_on_dark() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert min(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in combinations(PALETTE, 2)) > 45**2
    assert min(contrast(colour, BLACK) for colour in PALETTE) > 4.5


@pytest.mark.parametrize("colour", [*PALETTE, BLACK, WHITE, (128, 128, 128), (200, 0, 0)])
def test_text_is_readable_on_every_colour(colour: Colour) -> None:
    assert contrast(colour, text_colour_on(colour)) >= 4.5


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)  # the well-known #777 on white
    assert text_colour_on((0, 0, 160)) == WHITE
