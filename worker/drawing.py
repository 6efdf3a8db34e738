"""Boxes or masks with their labels on a picture, and the JPEGs that are kept of it.

What is drawn scales with the picture, so that it looks the same on a phone's 12 megapixels and on a thumbnail.
Each line has a thin edge in black or white, therefore it shows on any background, and two objects of one class and
colour stay apart where they touch. The surest detections get the best places for their labels and lie on top; a label
that would cover others is left out: its colour still tells the class.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.colours import Colour, colour_of, text_colour_on
from shared.results import Detection
from worker.masks import InstanceMask
from worker.pixels import Pixels

#: left, top, right, bottom; the pixels at right and bottom are outside
Rectangle = tuple[int, int, int, int]

#: shares of the picture's mean side (the square root of its area)
_LINE: Final = 1 / 240
_FONT: Final = 1 / 40
_SMALLEST_FONT: Final = 11
#: of the picture's height; a label that takes more hides more than it tells
_LARGEST_CHIP: Final = 1 / 6
#: letters of a name that is too long for the picture
_SHORT_NAME: Final = 20
#: share of a label that may lie on others
_MOST_OVERLAP: Final = 0.1
#: how much of a mask's fill is its colour; the rest is the picture
_FILL: Final = 0.4

_FONT_FILE: Final = Path(__file__).parent / "fonts" / "Inter-SemiBold.otf"

JPEG_QUALITY: Final = 90
#: up to this many pixels a JPEG keeps the colour of each: thin lines stay sharp, and it costs little
_FULL_COLOUR_PIXELS: Final = 512 * 512


def draw_detections(
    pixels: Pixels, detections: Sequence[Detection], masks: Sequence[InstanceMask] | None = None
) -> Pixels:
    """A copy of the picture with each detection drawn and labelled, the surest on top.

    An object with a mask is outlined and filled translucently; one without, or with an empty one, gets its box.

    Args:
        pixels: (height, width, 3), RGB; stays as it is.
        detections: in the picture's own pixels; in any order.
        masks: of each detection, where they are at hand; else those of the detections are decoded, which takes longer.

    Raises:
        ValueError: there are not as many masks as detections.
    """
    drawn = pixels.copy()
    height, width = drawn.shape[:2]
    style = _Style.of(width, height)
    outlined = [_mask_of(detection) for detection in detections] if masks is None else masks
    surest_first = sorted(zip(detections, outlined, strict=True), key=lambda pair: -pair[0].score)
    boxes = [style.fit(detection.box, width, height) for detection, _ in surest_first]
    chips = _place_chips([detection for detection, _ in surest_first], boxes, style, width, height)
    for (detection, mask), box in reversed(list(zip(surest_first, boxes, strict=True))):
        colour = colour_of(detection.label)
        if mask is not None and mask.pixels.any():
            _draw_mask(drawn, mask, colour, style)
        else:
            _draw_box(drawn, box, colour, style)
    for chip in reversed(chips):
        _draw_chip(drawn, chip)
    return drawn


def encode_jpeg(pixels: Pixels, quality: int = JPEG_QUALITY) -> bytes:
    """The picture (RGB) as a JPEG file.

    Raises:
        ValueError: a side is longer than JPEG allows.
    """
    subsampling = "444" if pixels.shape[0] * pixels.shape[1] <= _FULL_COLOUR_PIXELS else "420"
    try:
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", subsampling))
    except ValueError as error:
        raise ValueError(f"cannot write a JPEG of shape {pixels.shape}") from error


def thumbnail(pixels: Pixels, max_side: int) -> Pixels:
    """The picture in small, `max_side` at most on its long side. A smaller one is returned as it is."""
    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # OpenCV averages whole pixels many times faster than parts of them: to a multiple of the size first
    times = 2 ** int(math.log2(min(width / size[0], height / size[1])))
    multiple = size[0] * times, size[1] * times
    if multiple != (width, height):
        pixels = cv2.resize(pixels, multiple, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


# -- boxes


@dataclass(frozen=True, slots=True)
class _Style:
    """Measures for a picture of one size, in pixels."""

    line: int
    edge: int
    font: int

    @classmethod
    def of(cls, width: int, height: int) -> "_Style":
        side = math.sqrt(width * height)
        line = max(1, round(side * _LINE))
        return cls(line, max(1, round(line / 4)), max(_SMALLEST_FONT, round(side * _FONT)))

    def fit(self, box: tuple[float, float, float, float], width: int, height: int) -> Rectangle:
        """The line's outer rectangle: around the object, wholly inside the picture, and never inside out."""
        left, top, right, bottom = box
        half = self.line / 2
        x0, x1 = _fit_span(left - half, right + half, self.edge, width, 2 * self.line)
        y0, y1 = _fit_span(top - half, bottom + half, self.edge, height, 2 * self.line)
        return x0, y0, x1, y1


def _fit_span(low: float, high: float, margin: int, size: int, least: int) -> tuple[int, int]:
    low, high = min(max(low, margin), size - margin), min(max(high, margin), size - margin)
    start, end = round(low), round(high)
    if end - start < least:
        start = max(0, min(round((low + high - least) / 2), size - least))
        end = min(size, start + least)
    return start, end


def _draw_box(pixels: Pixels, box: Rectangle, colour: Colour, style: _Style) -> None:
    left, top, right, bottom = box
    edge, line = style.edge, style.line
    around = (left - edge, top - edge, right + edge, bottom + edge)
    both_edges = 2 * edge if line > 1 else edge  # on a small picture the inner one would hide too much
    _draw_frame(pixels, around, line + both_edges, text_colour_on(colour))
    _draw_frame(pixels, box, line, colour)


def _draw_frame(pixels: Pixels, outer: Rectangle, line: int, colour: Colour) -> None:
    left, top, right, bottom = outer
    for x0, y0, x1, y1 in (
        (left, top, right, min(top + line, bottom)),
        (left, max(bottom - line, top), right, bottom),
        (left, top, min(left + line, right), bottom),
        (max(right - line, left), top, right, bottom),
    ):
        pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = colour


# -- masks


def _mask_of(detection: Detection) -> InstanceMask | None:
    return None if detection.mask is None else InstanceMask.from_rle(detection.mask)


def _draw_mask(pixels: Pixels, mask: InstanceMask, colour: Colour, style: _Style) -> None:
    inside = mask.pixels.astype(np.uint8)
    rows, columns = inside.shape
    part = pixels[mask.top : mask.top + rows, mask.left : mask.left + columns]
    cv2.copyTo(cv2.LUT(part, _tint(colour)), inside, part)
    # CCOMP: the holes have outlines, too
    lines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(mask.left, mask.top))
    for thickness, line_colour in ((style.line + 2 * style.edge, text_colour_on(colour)), (style.line, colour)):
        cv2.drawContours(pixels, lines, -1, line_colour, thickness)


@lru_cache(maxsize=64)
def _tint(colour: Colour) -> Pixels:
    """What each value of each channel becomes under the colour: uint8 (1, 256, 3), for `cv2.LUT`."""
    values = np.arange(256)[None, :, None]
    table = np.rint((1 - _FILL) * values + _FILL * np.array(colour)).astype(np.uint8)
    table.setflags(write=False)
    return table


# -- labels


@dataclass(frozen=True, slots=True)
class _Chip:
    """A label with its place."""

    place: Rectangle
    image: Pixels


def _place_chips(
    detections: Sequence[Detection], boxes: Sequence[Rectangle], style: _Style, width: int, height: int
) -> list[_Chip]:
    """Find a place for each label, the first detection choosing first; those without a good one get none."""
    chips: list[_Chip] = []
    taken = np.empty((len(detections), 4))
    all_boxes = np.array(boxes, float).reshape(-1, 4)
    for index, (detection, box) in enumerate(zip(detections, boxes, strict=True)):
        image = _label_image(detection, style.font, width, height)
        if image is None:
            continue
        chip_height, chip_width = image.shape[:2]
        places = _places(box, chip_width, chip_height, style, width, height)
        area = chip_width * chip_height
        on_chips = _overlaps(places, taken[: len(chips)]).sum(axis=1) / area
        # covering another object, above all a small one, is worse than covering a part of one's own
        others = np.delete(all_boxes, index, axis=0)
        size = np.maximum((others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1]), 1)
        on_others = (_overlaps(places, others) / size).sum(axis=1)
        cost = 4 * on_chips + on_others + 0.02 * np.arange(len(places))
        best = int(np.argmin(cost))
        if on_chips[best] > _MOST_OVERLAP:
            continue
        left, top, right, bottom = (int(value) for value in places[best])
        taken[len(chips)] = places[best]
        chips.append(_Chip((left, top, right, bottom), image))
    return chips


def _places(
    box: Rectangle, chip_width: int, chip_height: int, style: _Style, width: int, height: int
) -> NDArray[np.float64]:
    """Where a label may be, best first: above, inside at the top, below, inside at the bottom; left, then right."""
    left, top, right, bottom = box
    edge = style.edge
    starts = (left - edge, right + edge - chip_width)
    tops = (top + style.line - chip_height, top - edge, bottom - style.line, bottom + edge - chip_height)
    places = [(x, y, x + chip_width, y + chip_height) for y in tops for x in starts]
    inside = np.array(places, float)
    shift_x = np.clip(inside[:, 0], 0, width - chip_width) - inside[:, 0]
    shift_y = np.clip(inside[:, 1], 0, height - chip_height) - inside[:, 1]
    inside[:, 0::2] += shift_x[:, None]
    inside[:, 1::2] += shift_y[:, None]
    return inside


def _overlaps(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area that each of `some` shares with each of `others`."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    shared: NDArray[np.float64] = sides[..., 0] * sides[..., 1]
    return shared


def _label_image(detection: Detection, font_size: int, width: int, height: int) -> Pixels | None:
    """The label, or less of it if it does not fit into the picture, or None."""
    name = drawable(detection.label, detection.class_id)
    for text in (f"{name} {detection.score:.0%}", name, f"{name[:_SHORT_NAME]}…"):
        image = _text_image(text, font_size, colour_of(detection.label))
        if image.shape[1] <= width and image.shape[0] <= height * _LARGEST_CHIP:
            return image
    return None


@lru_cache(maxsize=512)
def _text_image(text: str, font_size: int, background: Colour) -> Pixels:
    """Text on a plate of the class' colour."""
    font = font_of(font_size)
    ascent, descent = font.getmetrics()
    padding = max(2, round(font_size * 0.35))
    size = math.ceil(font.getlength(text)) + 2 * padding, ascent + descent + max(2, padding // 2)
    plate = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(plate)
    draw.text((padding, size[1] / 2), text, fill=text_colour_on(background), font=font, anchor="lm")
    pixels = np.array(plate)
    pixels.setflags(write=False)
    return pixels


def _draw_chip(pixels: Pixels, chip: _Chip) -> None:
    left, top, right, bottom = chip.place
    pixels[top:bottom, left:right] = chip.image


# -- text


@lru_cache(maxsize=64)
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Inter: Latin, Greek and Cyrillic letters (the font inside Pillow has no accents)."""
    return ImageFont.truetype(_FONT_FILE, size)


@lru_cache(maxsize=2048)
def drawable(label: str, class_id: int) -> str:
    """The label in letters that the font has.

    What it lacks is left out, and a label of which no letter remains becomes the number of its class: the page
    and the result document have its name.
    """
    letters = (character for character in unicodedata.normalize("NFC", label) if _has_glyph(character))
    drawn = " ".join("".join(letters).split())
    return drawn if any(character.isalnum() for character in drawn) else f"class {class_id}"


@lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    if not character.isprintable():
        return False
    font = font_of(32)
    return bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))
