"""What a classifier says, written on the picture: a plate with the best classes, their bars and percentages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.colours import WHITE, colour_of
from shared.results import Classification
from worker.drawing import drawable, font_of
from worker.pixels import Pixels

#: shares of the picture's mean side (the square root of its area)
_FONT: Final = 1 / 32
_SMALLEST_FONT: Final = 11
#: of the picture's width and height: the plate covers no more
_WIDEST: Final = 0.7
_HIGHEST: Final = 0.5
#: more rows hide more than they tell; the page has them all
_MOST_ROWS: Final = 5
#: how dark the plate is; white letters are readable on it whatever is below
_DARKNESS: Final = 0.72
_TRACK: Final = (96, 96, 96)


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    percent: str
    score: float
    label: str


def draw_caption(pixels: Pixels, classes: Sequence[Classification]) -> Pixels:
    """A copy of the picture with a plate in its lower left corner; without one if the picture is too small for it.

    Args:
        pixels: (height, width, 3), RGB; stays as it is.
        classes: best first.
    """
    drawn = pixels.copy()
    height, width = drawn.shape[:2]
    size = max(_SMALLEST_FONT, round(math.sqrt(width * height) * _FONT))
    line = round(1.9 * size)
    padding = round(0.6 * size)
    rows = min(len(classes), _MOST_ROWS, int((_HIGHEST * height - padding) // line))
    room = int(_WIDEST * width) - 2 * padding
    if rows < 1 or room < 5 * size:
        return drawn
    plate = _plate([_row(each) for each in classes[:rows]], size, line, padding, room)
    plate_height, plate_width = plate.shape[:2]
    corner = drawn[height - plate_height :, :plate_width]
    covered = plate.astype(np.float32)
    # black is the plate's ground, through which the picture shines
    ground = (covered.max(axis=2, keepdims=True) == 0).astype(np.float32)
    corner[:] = np.rint(covered + ground * (1 - _DARKNESS) * corner).astype(np.uint8)
    return drawn


def _row(found: Classification) -> _Row:
    return _Row(drawable(found.label, found.class_id), f"{found.score:.0%}", found.score, found.label)


def _plate(rows: Sequence[_Row], size: int, line: int, padding: int, room: int) -> Pixels:
    """The plate on black, as wide as its longest name needs, `room` at most."""
    font = font_of(size)
    percent_width = math.ceil(font.getlength("100%"))
    gap = size
    names = [_shortened(row.name, font, room - percent_width - gap) for row in rows]
    inner = max(min(room, 10 * size), *(math.ceil(font.getlength(name)) + gap + percent_width for name in names))
    plate = Image.new("RGB", (inner + 2 * padding, len(rows) * line + padding))
    draw = ImageDraw.Draw(plate)
    bar = max(2, round(size / 5))
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = padding + index * line
        draw.text((padding, top), name, fill=WHITE, font=font, anchor="la")
        draw.text((padding + inner, top), row.percent, fill=WHITE, font=font, anchor="ra")
        bottom = top + round(1.35 * size)
        draw.rectangle((padding, bottom, padding + inner - 1, bottom + bar - 1), fill=_TRACK)
        filled = round(inner * row.score)
        if filled:
            colour = colour_of(row.label)
            draw.rectangle((padding, bottom, padding + filled - 1, bottom + bar - 1), fill=colour)
    return np.array(plate)


def _shortened(name: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(name) <= room:
        return name
    while name and font.getlength(f"{name}…") > room:
        name = name[:-1]
    return f"{name.rstrip()}…"
