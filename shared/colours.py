"""The colour of a class: the same in the drawn picture, on the page, in every run and on every machine."""

from typing import Final
from zlib import crc32

Colour = tuple[int, int, int]

#: Spread as far from each other as they go in OKLab, each further than all before, within a lightness and a
#: saturation that stand out on light and on dark pictures alike.
PALETTE: Final[tuple[Colour, ...]] = tuple(
    (value >> 16, value >> 8 & 255, value & 255)
    for value in (
        *(0xFF6450, 0x14FA9B, 0x417DFF, 0xF082FF, 0x8C8C19, 0x00D7FF, 0xFFD200, 0xB96996),
        *(0x00B48C, 0xAAAAFF, 0x9B64F0, 0x96C800, 0xE19B50, 0xFFA5CD, 0x0096BE, 0x00A51E),
        *(0xFF5FA5, 0xC3E691, 0x73F0D7, 0xC350C3, 0x787DCD, 0xC36E50, 0x50AAFF, 0xC3AF14),
    )
)

#: Labels that meet often in one picture get colours that are far apart; the others get theirs by a checksum.
_FAMILIAR: Final = (
    *("person", "car", "bicycle", "handbag", "bench", "truck", "dog", "horse"),
    *("bus", "motorcycle", "backpack", "kite", "sheep", "cat", "boat", "potted plant"),
    *("traffic light", "surfboard", "cow", "umbrella", "train", "chair", "bird", "dining table"),
)
#: names that other data sets have for the same things
_SYNONYMS: Final = {
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "pedestrian": "person",
}

BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (255, 255, 255)


def colour_of(label: str) -> Colour:
    """Red, green and blue of a class, by its name alone."""
    label = label.casefold()
    label = _SYNONYMS.get(label, label)
    index = _FAMILIAR.index(label) if label in _FAMILIAR else crc32(label.encode()) % len(PALETTE)
    return PALETTE[index]


def text_colour_on(background: Colour) -> Colour:
    """Black or white, whichever is easier to read (by the contrast of WCAG 2)."""
    return BLACK if contrast(background, BLACK) >= contrast(background, WHITE) else WHITE


def css(colour: Colour) -> str:
    """As a style sheet writes it: "#ff6450"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def contrast(one: Colour, other: Colour) -> float:
    """WCAG 2's contrast ratio of two colours: 1 (the same) to 21 (black and white)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    red, green, blue = (_linear(channel / 255) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else float(((channel + 0.055) / 1.055) ** 2.4)
