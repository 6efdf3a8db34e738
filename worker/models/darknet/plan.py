"""The plan of a network: every layer of a `.cfg` with the shape of its output, and how many weights it takes."""

from dataclasses import dataclass
from typing import Final

from worker.models.darknet.cfg import (
    MAX_CHANNELS,
    Config,
    Convolutional,
    Dropout,
    Layer,
    MaxPool,
    Net,
    Route,
    Shortcut,
    Upsample,
    Yolo,
)
from worker.models.darknet.errors import DarknetError

#: elements of one layer's output; 1 GiB as float32
MAX_ELEMENTS: Final = 1 << 28


@dataclass(frozen=True, slots=True)
class Shape:
    """Height, width and channels of an activation."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}x{self.channels}"


@dataclass(frozen=True, slots=True)
class Planned:
    """One layer: its number in the file, its options, and what goes in and comes out."""

    index: int
    layer: Layer
    input: Shape
    output: Shape

    @property
    def name(self) -> str:
        """For messages: "layer 12 [convolutional]"."""
        return layer_name(self.index, self.layer)

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Of a convolution: filters, input channels of one group, height, width, as in the `.weights` file."""
        layer = self.layer
        if not isinstance(layer, Convolutional):
            raise TypeError(f"{self.name} has no kernels")
        return (layer.filters, self.input.channels // layer.groups, layer.size, layer.size)


@dataclass(frozen=True, slots=True)
class Plan:
    """A network that can be built: checked, with all shapes known."""

    input: Shape
    layers: tuple[Planned, ...]

    @property
    def heads(self) -> tuple[tuple[Yolo, Shape], ...]:
        """The `[yolo]` layers with the shapes of their raw outputs, in the file's order."""
        return tuple((step.layer, step.output) for step in self.layers if isinstance(step.layer, Yolo))

    @property
    def classes(self) -> int:
        """Number of classes, the same in every head."""
        return self.heads[0][0].classes


def layer_name(index: int, layer: Layer) -> str:
    """How messages call a layer: "layer 12 [convolutional]"."""
    return f"layer {index} [{type(layer).__name__.lower()}]"


def make_plan(config: Config, image_size: tuple[int, int] | None = None) -> Plan:
    """Work out the shape of every layer.

    Args:
        config: a parsed `.cfg`.
        image_size: height and width of the input, if others than the `.cfg` says.

    Raises:
        DarknetError: naming the layer: shapes that do not fit together, an output without pixels or with too
            many, a head whose channels are not those of its anchors and classes.
    """
    net = Net(*image_size) if image_size else config.net
    shape = entry = Shape(net.height, net.width, 3)
    planned: list[Planned] = []
    for index, layer in enumerate(config.layers):
        before, name = shape, layer_name(index, layer)
        outputs = [step.output for step in planned]
        for source in _sources(index, layer):
            if isinstance(config.layers[source], Yolo):
                raise DarknetError(f"{name} takes the output of a [yolo] layer, which is not supported")
        shape = _output(name, layer, before, outputs)
        if min(shape.height, shape.width) < 1:
            raise DarknetError(f"{name} leaves no pixel of its input of {before}")
        if shape.channels > MAX_CHANNELS or shape.height * shape.width * shape.channels > MAX_ELEMENTS:
            raise DarknetError(f"{name} has an output of {shape}, which is too large")
        planned.append(Planned(index, layer, before, shape))
    plan = Plan(entry, tuple(planned))
    if len({head.classes for head, _ in plan.heads}) > 1:
        raise DarknetError("the [yolo] sections differ in their number of classes")
    return plan


def _sources(index: int, layer: Layer) -> tuple[int, ...]:
    if isinstance(layer, Route):
        return layer.sources
    before = (index - 1,) if index else ()
    return (*before, layer.source) if isinstance(layer, Shortcut) else before


def _output(name: str, layer: Layer, before: Shape, outputs: list[Shape]) -> Shape:
    match layer:
        case Convolutional():
            return _convolved(name, layer, before)
        case MaxPool(size=size, stride=stride, padding=padding):
            return Shape(
                (before.height + padding - size) // stride + 1,
                (before.width + padding - size) // stride + 1,
                before.channels,
            )
        case Shortcut(source=source):
            if outputs[source] != before:
                raise DarknetError(f"{name} adds {outputs[source]} (layer {source}) to {before}: shapes differ")
            return before
        case Route():
            return _joined(name, layer, outputs)
        case Upsample(stride=stride):
            return Shape(before.height * stride, before.width * stride, before.channels)
        case Dropout():
            return before
        case Yolo(anchors=anchors, classes=classes):
            wanted = len(anchors) * (5 + classes)
            if before.channels != wanted:
                raise DarknetError(
                    f"{name} wants {wanted} channels ({len(anchors)} anchors x (5 + {classes} classes)), "
                    f"the layer before it has {before.channels}"
                )
            return before


def _convolved(name: str, layer: Convolutional, before: Shape) -> Shape:
    if before.channels % layer.groups or layer.filters % layer.groups:
        raise DarknetError(
            f"{name}: {before.channels} channels and {layer.filters} filters do not divide into {layer.groups} groups"
        )
    return Shape(
        (before.height + 2 * layer.padding - layer.size) // layer.stride + 1,
        (before.width + 2 * layer.padding - layer.size) // layer.stride + 1,
        layer.filters,
    )


def _joined(name: str, layer: Route, outputs: list[Shape]) -> Shape:
    shapes = [outputs[source] for source in layer.sources]
    if len({(shape.height, shape.width) for shape in shapes}) > 1:
        raise DarknetError(f"{name} joins layers of different sizes: {', '.join(map(str, shapes))}")
    if any(shape.channels % layer.groups for shape in shapes):
        raise DarknetError(f"{name}: the channels do not divide into {layer.groups} groups")
    return Shape(shapes[0].height, shapes[0].width, sum(shape.channels // layer.groups for shape in shapes))
