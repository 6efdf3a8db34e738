"""The Keras model of a Darknet network: backend-neutral, for inference and for training.

Imports Keras: choose the backend before (`worker.engines.select_backend`).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

import keras
import numpy as np
from keras import layers, ops

from worker.engines import KerasModel
from worker.models.darknet.cfg import Activation, Convolutional, Dropout, MaxPool, Route, Shortcut, Upsample, Yolo
from worker.models.darknet.plan import Plan, Planned, Shape
from worker.models.darknet.weights import ConvolutionWeights

#: a `keras.KerasTensor`; Keras comes without types
Tensor: TypeAlias = Any

T = TypeVar("T")

#: of batch normalisation; Darknet's CPU code and OpenCV use it, and Keras' default of 1e-3 is far off
EPSILON: Final = 1e-6
LEAKY_SLOPE: Final = 0.1

_KERAS_ACTIVATIONS: Final[dict[Activation, str]] = {
    "relu": "relu",
    "mish": "mish",
    "swish": "silu",
    "logistic": "sigmoid",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the channels are within the network: Keras' name for it and the axes that follow from it.

    OpenVINO computes with the channels first. Left last, Keras puts two transpositions around each layer there,
    which OpenVINO 2026.4 neither removes nor fuses across: a small network then takes ten times as long.
    """

    data_format: Literal["channels_first", "channels_last"]

    @classmethod
    def of_backend(cls) -> "Layout":
        """The layout that suits the backend Keras runs on."""
        return cls("channels_first" if keras.config.backend() == "openvino" else "channels_last")

    @property
    def channels(self) -> int:
        """The axis of the channels."""
        return 1 if self.data_format == "channels_first" else 3

    def around(self, rows: T, columns: T, other: T) -> tuple[T, T, T, T]:
        """Four things in the order of the axes: `other` for images and channels."""
        if self.data_format == "channels_first":
            return (other, other, rows, columns)
        return (other, rows, columns, other)


def build_network(plan: Plan, weights: dict[int, ConvolutionWeights], layout: Layout | None = None) -> KerasModel:
    """Build the network and give it its weights.

    Args:
        plan: the checked network.
        weights: of each of its convolutions, as `read_weights` returns them.
        layout: where the channels are within; of input and outputs they are the last axis in any case. None: as
            suits the backend.

    Returns:
        A `keras.Model`. In: float32 (batch, height, width, 3), RGB from 0 to 1. Out: a list with the raw output of
        each `[yolo]` head, float32 (batch, rows, columns, anchors * (5 + classes)), before any logistic function
        (that is for `decode`).
    """
    entry = keras.Input((plan.input.height, plan.input.width, 3), dtype="float32", name="image")
    layout = layout or Layout.of_backend()
    first = layout.data_format == "channels_first"
    x = layers.Permute((3, 1, 2), name="channels_first")(entry) if first else entry
    outputs: list[Tensor] = []
    heads: list[Tensor] = []
    for step in plan.layers:
        match step.layer:
            case Convolutional():
                x = _convolutional(step, step.layer, layout, x, weights[step.index])
            case MaxPool():
                x = _maxpool(step, step.layer, layout, x)
            case Shortcut(source=source, activation=activation):
                x = layers.Add(name=f"shortcut_{step.index}")([x, outputs[source]])
                x = _activate(step, activation, x)
            case Route():
                x = _route(step, step.layer, layout, outputs)
            case Upsample(stride=stride):
                name = f"upsample_{step.index}"
                x = layers.UpSampling2D(stride, layout.data_format, interpolation="nearest", name=name)(x)
            case Dropout():
                pass
            case Yolo():
                name = f"yolo_{step.index}"
                heads.append((layers.Permute((2, 3, 1), name=name) if first else layers.Identity(name=name))(x))
        outputs.append(x)
    return keras.Model(entry, heads, name="darknet")


def _convolutional(
    step: Planned, layer: Convolutional, layout: Layout, x: Tensor, weights: ConvolutionWeights
) -> Tensor:
    kernels = weights.kernels
    channels = step.input.channels
    common: dict[str, Any] = {
        "kernel_size": layer.size,
        "strides": layer.stride,
        "padding": "valid",
        "data_format": layout.data_format,
        "use_bias": not layer.batch_normalize,
        "name": f"convolution_{step.index}",
    }
    # Darknet pads the same on all sides; 'same' would pad less above and left when the stride is not 1
    if layer.padding:
        if layer.stride == 1 and layer.size == 2 * layer.padding + 1:
            common["padding"] = "same"
        else:
            x = layers.ZeroPadding2D(layer.padding, layout.data_format, name=f"padding_{step.index}")(x)
    if layer.groups == channels and layer.groups > 1:
        multiplier = layer.filters // channels
        convolution = layers.DepthwiseConv2D(depth_multiplier=multiplier, depthwise_initializer="zeros", **common)
        kernels = kernels.reshape(channels, multiplier, layer.size, layer.size).transpose(2, 3, 0, 1)
    else:
        convolution = layers.Conv2D(layer.filters, groups=layer.groups, kernel_initializer="zeros", **common)
        kernels = kernels.transpose(2, 3, 1, 0)
    x = convolution(x)
    kernels = np.ascontiguousarray(kernels)
    if weights.normalisation is None:
        convolution.set_weights([kernels, weights.bias])
    else:
        normalisation = layers.BatchNormalization(
            axis=layout.channels, epsilon=EPSILON, name=f"normalisation_{step.index}"
        )
        x = normalisation(x)
        values = weights.normalisation
        convolution.set_weights([kernels])
        normalisation.set_weights([values.scale, weights.bias, values.mean, values.variance])
    return _activate(step, layer.activation, x)


def _activate(step: Planned, activation: Activation, x: Tensor) -> Tensor:
    name = f"activation_{step.index}"
    if activation == "linear":
        return x
    if activation == "leaky":
        return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)
    return layers.Activation(_KERAS_ACTIVATIONS[activation], name=name)(x)


def _maxpool(step: Planned, layer: MaxPool, layout: Layout, x: Tensor) -> Tensor:
    common = {"data_format": layout.data_format, "name": f"maxpool_{step.index}"}
    rows = _pool_padding(layer, step.input.height, step.output.height)
    columns = _pool_padding(layer, step.input.width, step.output.width)
    if (rows, columns) == _same_padding(layer, step.input):
        return layers.MaxPooling2D(layer.size, layer.stride, padding="same", **common)(x)
    if any(rows + columns):
        # what no real value lies below, so that the padding is never the maximum
        lowest = float(np.finfo(np.float32).min)
        x = ops.pad(x, layout.around(rows, columns, (0, 0)), constant_values=lowest)
    return layers.MaxPooling2D(layer.size, layer.stride, padding="valid", **common)(x)


def _pool_padding(layer: MaxPool, size_in: int, size_out: int) -> tuple[int, int]:
    """Pixels before and after, so that a 'valid' pooling gives what Darknet does."""
    before = layer.padding // 2
    return before, max(0, (size_out - 1) * layer.stride + layer.size - size_in - before)


def _same_padding(layer: MaxPool, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Pixels before and after, for rows and columns, that Keras' 'same' adds."""

    def pad(size: int) -> tuple[int, int]:
        total = max(0, (-(-size // layer.stride) - 1) * layer.stride + layer.size - size)
        return total // 2, total - total // 2

    return pad(shape.height), pad(shape.width)


def _route(step: Planned, layer: Route, layout: Layout, outputs: list[Tensor]) -> Tensor:
    parts = [outputs[source] for source in layer.sources]
    if layer.groups > 1:
        parts = [ops.split(part, layer.groups, axis=layout.channels)[layer.group_id] for part in parts]
    if len(parts) == 1:
        return parts[0]
    return layers.Concatenate(axis=layout.channels, name=f"route_{step.index}")(parts)
