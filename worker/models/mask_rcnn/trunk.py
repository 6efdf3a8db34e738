"""The first network: an image to its feature pyramid and the region proposal network's outputs.

Imports Keras: choose the backend before (`worker.engines.select_backend`). The layers have Matterport's names.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import keras
import numpy as np
from keras import layers

from worker.engines import KerasModel
from worker.models.mask_rcnn.plan import LayerWeights, Plan, Weights, block_name

#: a `keras.KerasTensor`; Keras comes without types
Tensor: TypeAlias = Any
#: a `keras.Layer`
Layer: TypeAlias = Any

DataFormat = Literal["channels_first", "channels_last"]

#: of what is below 0, Darknet's rectifier lets this share through
LEAK: Final = 0.1


def format_of_backend() -> DataFormat:
    """Where the channels are best on Keras' backend.

    OpenVINO computes with the channels first, and neither removes nor fuses across the transpositions that Keras would
    put around each layer.
    """
    return "channels_first" if keras.config.backend() == "openvino" else "channels_last"


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes layers with Matterport's names.

    Args:
        plan: for the epsilon of batch normalisation.
        data_format: where the channels are.
        initializer: of kernels; "zeros" where weights follow, as drawing numbers for nothing takes seconds.
    """

    plan: Plan
    data_format: DataFormat
    initializer: str

    @property
    def channels(self) -> int:
        """The axis of the channels."""
        return 1 if self.data_format == "channels_first" else 3

    def enter(self, x: Tensor) -> Tensor:
        """From channels last, as all inputs and outputs are, to the format within."""
        return layers.Permute((3, 1, 2))(x) if self.data_format == "channels_first" else x

    def leave(self, x: Tensor) -> Tensor:
        """The way back."""
        return layers.Permute((2, 3, 1))(x) if self.data_format == "channels_first" else x

    def convolution(self, name: str, filters: int, size: int, *, stride: int = 1, padding: str = "same") -> Layer:
        """A convolution with bias. With a stride of 2, Keras' "same" would pad on the far side only."""
        return layers.Conv2D(
            filters,
            size,
            strides=stride,
            padding=padding,
            data_format=self.data_format,
            kernel_initializer=self.initializer,
            name=name,
        )

    def normalisation(self, name: str, axis: int | None = None) -> Layer:
        """A batch normalisation over the channels."""
        return layers.BatchNormalization(
            axis=self.channels if axis is None else axis, epsilon=self.plan.epsilon, name=name
        )

    def relu(self, x: Tensor) -> Tensor:
        """A rectifier."""
        return layers.Activation("relu")(x)

    def leaky(self, x: Tensor) -> Tensor:
        """Darknet's rectifier."""
        return layers.LeakyReLU(negative_slope=LEAK)(x)


def make_builder(plan: Plan, weights: Weights | None, data_format: DataFormat | None) -> Builder:
    """The builder for a part of the network; arguments as of `build_trunk`."""
    return Builder(plan, data_format or format_of_backend(), "he_normal" if weights is None else "zeros")


def build_trunk(
    plan: Plan,
    size: tuple[int | None, int | None],
    weights: Weights | None = None,
    data_format: DataFormat | None = None,
) -> KerasModel:
    """Build the backbone, the feature pyramid and the region proposal network.

    Args:
        plan: the network.
        size: height and width of the input, multiples of 32 (of 64 for `layout` "matterport"); None: any.
        weights: of at least these layers; without, they are drawn at random.
        data_format: where the channels are within; of input and outputs they are the last axis in any case. None: as
            suits the backend.

    Returns:
        A `keras.Model`. In: float32 (batch, height, width, 3), RGB from 0 to 255 less `plan.mean_pixel`. Out: P2 to P5,
        float32 (batch, rows, columns, channels), then of all anchors in the order of `make_anchors` the logits of
        background and object (batch, anchors, 2) and the deltas dy, dx, dh, dw (batch, anchors, 4).
    """
    make = make_builder(plan, weights, data_format)
    image = keras.Input((*size, 3), dtype="float32", name="image")
    backbone = _darknet if plan.backbone == "darknet" else _resnet
    pyramid = _pyramid(make, backbone(make, make.enter(image)))
    logits, deltas = _propose(make, [*pyramid, _coarsest(make, pyramid[-1])])
    model = keras.Model(image, [*(make.leave(level) for level in pyramid), logits, deltas], name="trunk")
    if weights is not None:
        set_weights(model, weights)
    return model


def _resnet(make: Builder, x: Tensor) -> list[Tensor]:
    """C2 to C5 of a ResNet whose stride is in a block's first convolution (arXiv 1512.03385)."""
    plan = make.plan
    x = layers.ZeroPadding2D(3, data_format=make.data_format)(x)
    x = make.convolution("conv1", plan.width, 7, stride=2, padding="valid")(x)
    x = make.relu(make.normalisation("bn_conv1")(x))
    # Nothing is below 0 here, so that zeros around are as good as nothing. PyTorch has them on both sides, TensorFlow
    # on the far one.
    before = 1 if plan.layout == "detectron2" else 0
    x = layers.ZeroPadding2D(((before, 1), (before, 1)), data_format=make.data_format)(x)
    x = layers.MaxPooling2D(3, 2, data_format=make.data_format)(x)
    outputs = []
    for stage, blocks, inner, outer in plan.stages():
        for index in range(blocks):
            stride = 2 if stage > 2 and index == 0 else 1
            x = _block(make, x, block_name(stage, index), inner, outer, stride, first=index == 0)
        outputs.append(x)
    return outputs


def _block(make: Builder, x: Tensor, name: str, inner: int, outer: int, stride: int, *, first: bool) -> Tensor:
    def branch(x: Tensor, part: str, filters: int, size: int, stride: int = 1) -> Tensor:
        if size == 3 and stride == 2:
            x = layers.ZeroPadding2D(1, data_format=make.data_format)(x)
        padding = "same" if stride == 1 else "valid"
        x = make.convolution(f"res{name}_branch{part}", filters, size, stride=stride, padding=padding)(x)
        return make.normalisation(f"bn{name}_branch{part}")(x)

    if make.plan.bottleneck:
        y = make.relu(branch(x, "2a", inner, 1, stride))
        y = make.relu(branch(y, "2b", inner, 3))
        y = branch(y, "2c", outer, 1)
    else:
        y = make.relu(branch(x, "2a", inner, 3, stride))
        y = branch(y, "2b", outer, 3)
    shortcut = branch(x, "1", outer, 1, stride) if first else x
    return make.relu(layers.Add()([y, shortcut]))


def _darknet(make: Builder, x: Tensor) -> list[Tensor]:
    """C2 to C5 of a Darknet with residual blocks: of 1x1 and 3x3, nothing after the sum (arXiv 1804.02767)."""

    def halve(x: Tensor, name: str, normalisation: str, filters: int) -> Tensor:
        x = layers.ZeroPadding2D(1, data_format=make.data_format)(x)
        x = make.convolution(name, filters, 3, stride=2, padding="valid")(x)
        return make.leaky(make.normalisation(normalisation)(x))

    x = halve(x, "conv1", "bn_conv1", make.plan.width)
    outputs = []
    for stage, blocks, inner, outer in make.plan.stages():
        x = halve(x, f"res{stage}_down", f"bn{stage}_down", outer)
        for index in range(blocks):
            y = x
            for part, filters, size in (("2a", inner, 1), ("2b", outer, 3)):
                name = f"{block_name(stage, index)}_branch{part}"
                y = make.convolution(f"res{name}", filters, size)(y)
                y = make.leaky(make.normalisation(f"bn{name}")(y))
            x = layers.Add()([x, y])
        outputs.append(x)
    return outputs


def _pyramid(make: Builder, stages: list[Tensor]) -> list[Tensor]:
    """P2 to P5: each stage, and the coarser levels added to it."""
    merged: list[Tensor] = []
    for level, stage in zip((5, 4, 3, 2), reversed(stages), strict=True):
        x = make.convolution(f"fpn_c{level}p{level}", make.plan.fpn_channels, 1)(stage)
        if merged:
            x = layers.Add()([layers.UpSampling2D(2, data_format=make.data_format)(merged[-1]), x])
        merged.append(x)
    return [
        make.convolution(f"fpn_p{level}", make.plan.fpn_channels, 3)(x)
        for level, x in zip((2, 3, 4, 5), reversed(merged), strict=True)
    ]


def _coarsest(make: Builder, x: Tensor) -> Tensor:
    """P6, for large anchors only: every second cell of P5."""
    return layers.MaxPooling2D(1, 2, data_format=make.data_format)(x)


def _propose(make: Builder, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The region proposal network, one for all levels."""
    plan = make.plan
    shared = make.convolution("rpn_conv_shared", plan.rpn_channels, 3)
    scores = make.convolution("rpn_class_raw", 2 * plan.anchors_per_cell, 1)
    corrections = make.convolution("rpn_bbox_pred", 4 * plan.anchors_per_cell, 1)
    logits, deltas = [], []
    for level in levels:
        hidden = make.relu(shared(level))
        logits.append(layers.Reshape((-1, 2))(make.leave(scores(hidden))))
        deltas.append(layers.Reshape((-1, 4))(make.leave(corrections(hidden))))
    return layers.Concatenate(axis=1, name="rpn_logits")(logits), layers.Concatenate(axis=1, name="rpn_deltas")(deltas)


def set_weights(model: KerasModel, weights: Weights) -> None:
    """Give a model's layers their weights.

    A `Dense` layer that stands for a convolution over all of its input has the same values in another shape.
    """
    for layer in model.layers:
        if layer.weights:
            values = weights[layer.name]
            layer.set_weights([values[variable.name].reshape(variable.shape) for variable in layer.weights])


def get_weights(plan: Plan, *models: KerasModel) -> LayerWeights:
    """The inverse of `set_weights`, for all parts of a network: what `write_matterport` takes."""
    found = {layer.name: layer for model in models for layer in model.layers if layer.weights}
    return {
        name: {
            variable.name: np.asarray(value, np.float32).reshape(shapes[variable.name])
            for variable, value in zip(found[name].weights, found[name].get_weights(), strict=True)
        }
        for name, shapes in plan.layers().items()
    }
