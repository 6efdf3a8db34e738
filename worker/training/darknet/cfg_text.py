"""A `.cfg` made to fit a data set: classes, anchors and the size of the input written anew, all else kept as it is."""

import re
from collections.abc import Sequence
from typing import Final

from worker.models.darknet.cfg import Yolo, parse_cfg
from worker.models.darknet.errors import DarknetError

_HEADING: Final = re.compile(r"^\s*\[\s*(\w+)\s*\]")
_OPTION: Final = re.compile(r"^\s*(\w+)\s*=([^#;]*)")


def anchor_count(text: str) -> int:
    """How many anchors all heads of a `.cfg` share.

    Raises:
        DarknetError: it cannot be read, or its heads have lists of their own.
    """
    parse_cfg(text)
    counts = {_option(section, "num", "1") for section in _sections(text) if _kind(section) == "yolo"}
    if len(counts) != 1:
        raise DarknetError("the [yolo] sections of the cfg differ in their number of anchors")
    return int(counts.pop())


def adapt_cfg(
    text: str,
    *,
    classes: int,
    image_size: tuple[int, int] | None = None,
    anchors: Sequence[tuple[float, float]] | None = None,
) -> str:
    """Write a `.cfg` anew.

    Args:
        text: of the file; comments and unknown options stay.
        classes: how many there are to tell apart.
        image_size: height and width of the input, None: as it is.
        anchors: width and height in pixels of that input, growing, as many as `anchor_count` says; None: those of
            the file, scaled with the input.

    Raises:
        DarknetError: a head is not preceded by a convolution, or the result is no valid network.
    """
    config = parse_cfg(text)
    height, width = image_size or (config.net.height, config.net.width)
    sections = _sections(text)
    for index, section in enumerate(sections):
        kind = _kind(section)
        if kind in {"net", "network"}:
            _set(section, "height", str(height))
            _set(section, "width", str(width))
        elif kind == "yolo":
            if _kind(sections[index - 1]) not in {"convolutional", "conv"}:
                raise DarknetError("the layer before a [yolo] section of the cfg is no convolution")
            own = anchors or _scaled(section, height / config.net.height, width / config.net.width)
            _set(section, "classes", str(classes))
            _set(section, "anchors", ", ".join(f"{w:.4g},{h:.4g}" for w, h in own))
            mask = _option(section, "mask", ",".join(map(str, range(len(own)))))
            count = len([number for number in mask.split(",") if number.strip()])
            _set(sections[index - 1], "filters", str(count * (5 + classes)))
    adapted = "\n".join(line for section in sections for line in section) + "\n"
    heads = [layer for layer in parse_cfg(adapted).layers if isinstance(layer, Yolo)]
    if any(head.classes != classes for head in heads):
        raise DarknetError("the cfg cannot be written for another number of classes")
    return adapted


def _scaled(section: list[str], rows: float, columns: float) -> list[tuple[float, float]]:
    numbers = [float(number) for number in _option(section, "anchors", "").split(",") if number.strip()]
    return [(w * columns, h * rows) for w, h in zip(numbers[::2], numbers[1::2], strict=True)]


def _sections(text: str) -> list[list[str]]:
    """The lines of each section, each beginning with its heading; what stands before the first comes with it."""
    sections: list[list[str]] = [[]]
    seen = False
    for line in text.splitlines():
        if _HEADING.match(line):
            if seen:
                sections.append([])
            seen = True
        sections[-1].append(line)
    return sections


def _kind(section: list[str]) -> str:
    return next((match[1] for line in section if (match := _HEADING.match(line))), "")


def _option(section: list[str], key: str, default: str) -> str:
    return next((m[2].strip() for line in section if (m := _OPTION.match(line)) and m[1] == key), default)


def _set(section: list[str], key: str, value: str) -> None:
    for number, line in enumerate(section):
        if (match := _OPTION.match(line)) and match[1] == key:
            section[number] = f"{key}={value}"
            return
    heading = next(number for number, line in enumerate(section) if _HEADING.match(line))
    section.insert(heading + 1, f"{key}={value}")
