"""Darknet's `.cfg` files: text to typed sections.

The format: `[section]` headings, `key=value` lines below them, `#` and `;` comments, spaces anywhere. `[net]`
comes first; every further section is one layer, numbered from 0. Options that matter for training only are
ignored; options that would change what a layer computes and are not supported are refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar, cast, get_args

from worker.models.darknet.errors import DarknetError

Activation = Literal["linear", "leaky", "relu", "mish", "swish", "logistic"]

ACTIVATIONS: Final[frozenset[str]] = frozenset(get_args(Activation))

# Generous bounds: they keep a broken or hostile file from asking for more memory than there is.
MAX_TEXT: Final = 1 << 20
MAX_LAYERS: Final = 2000
MAX_SIDE: Final = 8192
MAX_CHANNELS: Final = 1 << 16
MAX_KERNEL: Final = 255
MAX_NUMBERS: Final = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Net:
    """`[net]`: the size of the input in pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Convolutional:
    """`[convolutional]`; `padding` pixels of zeros on each of the four sides."""

    filters: int
    size: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: Activation


@dataclass(frozen=True, slots=True)
class Shortcut:
    """`[shortcut]`: adds the output of layer `source` to that of the layer before."""

    source: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class Route:
    """`[route]`: joins the outputs of `sources` along the channels; of each, part `group_id` of `groups`."""

    sources: tuple[int, ...]
    groups: int
    group_id: int


@dataclass(frozen=True, slots=True)
class MaxPool:
    """`[maxpool]`; `padding` pixels for both sides together, the smaller half of them left and above."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Upsample:
    """`[upsample]`: repeats each pixel `stride` times in both directions."""

    stride: int


@dataclass(frozen=True, slots=True)
class Dropout:
    """`[dropout]`: does nothing outside training."""


@dataclass(frozen=True, slots=True)
class Yolo:
    """`[yolo]`: a detection head; `anchors` (width, height in input pixels) are those its mask selects."""

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_x_y: float


Layer = Convolutional | Shortcut | Route | MaxPool | Upsample | Dropout | Yolo


@dataclass(frozen=True, slots=True)
class Config:
    """A parsed `.cfg`: the input and the layers, in the file's order."""

    net: Net
    layers: tuple[Layer, ...]


class _Section:
    """One section's options, read once each with type and bounds; errors say which section and line."""

    def __init__(self, kind: str, line: int, index: int) -> None:
        self.kind = kind
        self.index = index
        self._line = line
        self._options: dict[str, tuple[str, int]] = {}

    def add(self, key: str, value: str, line: int) -> None:
        if key in self._options:
            raise self.error(f"{key!r} is there twice", line)
        self._options[key] = (value, line)

    def error(self, message: str, line: int | None = None) -> DarknetError:
        layer = "" if self.index < 0 else f" (layer {self.index})"
        return DarknetError(f"cfg line {line or self._line}, [{self.kind}]{layer}: {message}")

    def _read(self, key: str, default: T | None, parse: Callable[[str], T], wanted: str) -> T:
        if key not in self._options:
            if default is None:
                raise self.error(f"{key!r} is missing")
            return default
        value, line = self._options[key]
        try:
            return parse(value)
        except ValueError:
            raise self.error(f"{key}={value[:40]!r} should be {wanted}", line) from None

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        def parse(value: str) -> int:
            number = int(value)
            if not low <= number <= high:
                raise ValueError
            return number

        return self._read(key, default, parse, f"a whole number from {low} to {high}")

    def flag(self, key: str) -> bool:
        return self.integer(key, 0, 0, 1) == 1

    def number(self, key: str, default: float, low: float, high: float) -> float:
        def parse(value: str) -> float:
            number = float(value)
            if not low <= number <= high:
                raise ValueError
            return number

        return self._read(key, default, parse, f"a number from {low:g} to {high:g}")

    def integers(self, key: str) -> tuple[int, ...]:
        return self._read(key, None, lambda value: _split(value, int), "whole numbers with commas between")

    def numbers(self, key: str) -> tuple[float, ...]:
        def parse(value: str) -> tuple[float, ...]:
            numbers = _split(value, float)
            if not all(map(math.isfinite, numbers)):
                raise ValueError
            return numbers

        return self._read(key, None, parse, "numbers with commas between")

    def activation(self, default: Activation) -> Activation:
        def parse(value: str) -> Activation:
            if value not in ACTIVATIONS:
                raise ValueError
            return cast("Activation", value)

        return self._read("activation", default, parse, f"one of {', '.join(sorted(ACTIVATIONS))}")

    def refuse(self, **harmless: str) -> None:
        """Raise if an option is there with another value than the one that changes nothing."""
        for key, neutral in harmless.items():
            value, line = self._options.get(key, (neutral, 0))
            if value != neutral:
                raise self.error(f"{key}={value[:40]} is not supported", line)

    def has(self, key: str) -> bool:
        return key in self._options


def _split(value: str, convert: Callable[[str], T]) -> tuple[T, ...]:
    parts = value.removesuffix(",").split(",")
    if len(parts) > MAX_NUMBERS:
        raise ValueError
    return tuple(map(convert, parts))


def load_cfg(path: Path) -> Config:
    """Read and check the `.cfg` at `path`.

    Raises:
        DarknetError: it is no such file, too long, or says what cannot be built (see `parse_cfg`).
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise DarknetError(f"the cfg is longer than {MAX_TEXT} bytes")
    try:
        return parse_cfg(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise DarknetError("the cfg is not a text file") from None


def parse_cfg(text: str) -> Config:
    """Parse the text of a `.cfg`.

    Returns:
        The network, with negative layer references made absolute and Darknet's defaults filled in.

    Raises:
        DarknetError: naming the line and section: not `key=value`, an unknown layer or activation, a missing or
            repeated option, a value out of bounds, a reference to a layer that is not before it.
    """
    sections = _sections(text)
    if not sections or sections[0].kind not in {"net", "network"}:
        raise DarknetError("the cfg does not begin with a [net] section")
    net = _net(sections[0])
    layers: list[Layer] = []
    for section in sections[1:]:
        reader = _LAYERS.get(section.kind)
        if reader is None:
            raise section.error(f"layers of this type are not supported; these are: {', '.join(sorted(_LAYERS))}")
        layers.append(reader(section))
    if not any(isinstance(layer, Yolo) for layer in layers):
        raise DarknetError("the cfg has no [yolo] section: it is no detector")
    return Config(net, tuple(layers))


def _sections(text: str) -> list[_Section]:
    sections: list[_Section] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = "".join(raw.split("#", 1)[0].split())
        if not line or line.startswith(";"):
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise DarknetError(f"cfg line {number}: a section heading has no closing bracket")
            if len(sections) > MAX_LAYERS:
                raise DarknetError(f"cfg line {number}: more than {MAX_LAYERS} layers")
            sections.append(_Section(line[1:-1][:40], number, len(sections) - 1))
            continue
        key, equals, value = line.partition("=")
        if not sections:
            raise DarknetError(f"cfg line {number}: an option stands before the first section")
        if not equals or not key:
            raise sections[-1].error(f"{line[:40]!r} is not of the form key=value", number)
        sections[-1].add(key, value, number)
    return sections


def _net(section: _Section) -> Net:
    section.integer("channels", 3, 3, 3)
    return Net(section.integer("height", None, 1, MAX_SIDE), section.integer("width", None, 1, MAX_SIDE))


def _convolutional(section: _Section) -> Convolutional:
    section.refuse(
        dilation="1", antialiasing="0", binary="0", xnor="0", flipped="0", share_index="-1", deform="0", bin_output="0"
    )
    section.refuse(sway="0", rotate="0", stretch="0", stretch_sway="0", coordconv="0")
    size = section.integer("size", 1, 1, MAX_KERNEL)
    stride = section.integer("stride", 1, 1, MAX_KERNEL)
    section.refuse(stride_x=str(stride), stride_y=str(stride))
    padding = section.integer("padding", 0, 0, MAX_KERNEL)
    return Convolutional(
        filters=section.integer("filters", 1, 1, MAX_CHANNELS),
        size=size,
        stride=stride,
        padding=size // 2 if section.flag("pad") else padding,
        groups=section.integer("groups", 1, 1, MAX_CHANNELS),
        batch_normalize=section.flag("batch_normalize"),
        activation=section.activation("logistic"),
    )


def _absolute(section: _Section, reference: int) -> int:
    target = reference if reference >= 0 else section.index + reference
    if not 0 <= target < section.index:
        raise section.error(f"refers to layer {target}, which is not before it")
    return target


def _shortcut(section: _Section) -> Shortcut:
    section.refuse(weights_type="none")
    sources = section.integers("from")
    if len(sources) != 1:
        raise section.error("a shortcut from several layers is not supported")
    if section.index == 0:
        raise section.error("there is no layer before it")
    return Shortcut(_absolute(section, sources[0]), section.activation("linear"))


def _route(section: _Section) -> Route:
    groups = section.integer("groups", 1, 1, MAX_CHANNELS)
    sources = tuple(_absolute(section, reference) for reference in section.integers("layers"))
    return Route(sources, groups, section.integer("group_id", 0, 0, groups - 1))


def _maxpool(section: _Section) -> MaxPool:
    section.refuse(maxpool_depth="0", antialiasing="0")
    stride = section.integer("stride", 1, 1, MAX_KERNEL)
    section.refuse(stride_x=str(stride), stride_y=str(stride))
    size = section.integer("size", stride, 1, MAX_KERNEL)
    # a window that lies in the padding alone has no maximum
    return MaxPool(size, stride, section.integer("padding", size - 1, 0, 2 * (size - 1)))


def _upsample(section: _Section) -> Upsample:
    scale = section.number("scale", 1.0, -math.inf, math.inf)
    if scale != 1:
        raise section.error(f"scale={scale:g} is not supported")
    return Upsample(section.integer("stride", 2, 1, 64))


def _dropout(section: _Section) -> Dropout:
    section.refuse(dropblock="0")
    return Dropout()


def _yolo(section: _Section) -> Yolo:
    section.refuse(new_coords="0")
    count = section.integer("num", 1, 1, MAX_NUMBERS)
    numbers = section.numbers("anchors")
    if len(numbers) != 2 * count or min(numbers) <= 0:
        raise section.error(f"anchors should be {2 * count} numbers above 0 (2 x num), there are {len(numbers)}")
    mask = section.integers("mask") if section.has("mask") else tuple(range(count))
    if not all(0 <= index < count for index in mask):
        raise section.error(f"mask selects an anchor that is not there; the first is 0, the last {count - 1}")
    return Yolo(
        anchors=tuple((numbers[2 * index], numbers[2 * index + 1]) for index in mask),
        classes=section.integer("classes", 20, 1, MAX_CHANNELS),
        scale_x_y=section.number("scale_x_y", 1.0, 0.5, 4.0),
    )


_LAYERS: Final[dict[str, Callable[[_Section], Layer]]] = {
    "convolutional": _convolutional,
    "conv": _convolutional,
    "shortcut": _shortcut,
    "route": _route,
    "maxpool": _maxpool,
    "max": _maxpool,
    "upsample": _upsample,
    "dropout": _dropout,
    "yolo": _yolo,
}
