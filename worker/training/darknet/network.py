"""The network in training: the one of inference with first weights and a loss. Imports Keras."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from worker.engines import KerasModel
from worker.models.darknet.cfg import Convolutional, Shortcut, Yolo
from worker.models.darknet.network import Layout, Tensor, build_network
from worker.models.darknet.plan import Plan, Planned
from worker.models.darknet.weights import ConvolutionWeights, Normalisation
from worker.training.darknet.config import DetectionConfig
from worker.training.darknet.loss import YoloLoss
from worker.training.optimizing import make_optimizer
from worker.training.precision import layers_in

#: of the running averages of batch normalisation; Keras' 0.99 lags behind in a run of a few hundred steps
MOMENTUM: Final = 0.97
#: the objectness that an untrained network starts with: most places are background (arXiv 1708.02002, section 3.3)
PRIOR: Final = 0.01

#: a loss for people: box, objectness and classes, and their sum
LOSS_NAMES: Final = ("loss", "box", "objectness", "classes")


def first_weights(plan: Plan, seed: int) -> dict[int, ConvolutionWeights]:
    """Weights to start from: He's (arXiv 1502.01852); residual blocks add little at first, heads say near nothing."""
    random = np.random.default_rng(seed)
    following = (*plan.layers[1:], None)
    return {
        step.index: _first(step, after, random)
        for step, after in zip(plan.layers, following, strict=True)
        if isinstance(step.layer, Convolutional)
    }


def _first(step: Planned, after: Planned | None, random: np.random.Generator) -> ConvolutionWeights:
    layer = step.layer
    assert isinstance(layer, Convolutional)  # noqa: S101 -- chosen by the caller
    filters = layer.filters
    bias = np.zeros(filters, np.float32)
    deviation = np.sqrt(2 / np.prod(step.kernel_shape[1:]))
    normalisation = None
    if layer.batch_normalize:
        # a block that adds little at first lets a deep network learn from the first step (arXiv 1706.02677, 5.1)
        scale = 0.2 if after is not None and isinstance(after.layer, Shortcut) else 1.0
        ones = np.ones(filters, np.float32)
        normalisation = Normalisation(ones * np.float32(scale), np.zeros_like(ones), ones)
    if after is not None and isinstance(after.layer, Yolo):
        deviation = 0.01
        bias.reshape(len(after.layer.anchors), -1)[:, 4] = -np.log(1 / PRIOR - 1)
    kernels = random.standard_normal(step.kernel_shape, np.float32) * np.float32(deviation)
    return ConvolutionWeights(bias, normalisation, kernels)


def take_weights(plan: Plan, network: KerasModel) -> Iterator[ConvolutionWeights]:
    """The weights of all convolutions in the cfg's order, as `write_weights` wants them.

    Args:
        plan: the network's.
        network: as `build_network` made it.
    """
    for step in plan.layers:
        if not isinstance(step.layer, Convolutional):
            continue
        convolution = network.get_layer(f"convolution_{step.index}")
        kernels, *bias = (_numpy(variable) for variable in convolution.weights)
        if isinstance(convolution, keras.layers.DepthwiseConv2D):
            kernels = kernels.transpose(2, 3, 0, 1).reshape(step.kernel_shape)
        else:
            kernels = kernels.transpose(3, 2, 0, 1)
        if step.layer.batch_normalize:
            layer = network.get_layer(f"normalisation_{step.index}")
            parts = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
            scale, shift, mean, variance = map(_numpy, parts)
            yield ConvolutionWeights(shift, Normalisation(scale, mean, variance), kernels)
        else:
            yield ConvolutionWeights(bias[0], None, kernels)


def _numpy(variable: Tensor) -> NDArray[np.float32]:
    return np.asarray(ops.convert_to_numpy(variable), np.float32)


class TrainedNetwork(keras.Model):  # type: ignore[misc] # Keras comes without types
    """A network with its loss: `train_on_batch(images, {"truths": ..., "heads": [...]})`.

    Args:
        plan: the network.
        weights: to start from.
        config: loss, optimizer and precision.
        steps: of the whole run.
    """

    def __init__(self, plan: Plan, weights: dict[int, ConvolutionWeights], config: DetectionConfig, steps: int) -> None:
        super().__init__(name="training")
        with layers_in(config.precision):
            self.network = build_network(plan, weights, Layout("channels_last"))
        for layer in self.network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = MOMENTUM
        self._yolo_loss = YoloLoss(plan, config.box_loss, config.ignore_threshold)
        self._means = {name: keras.metrics.Mean(name=name) for name in LOSS_NAMES}
        # XLA makes convolutions on a CPU three times slower than TensorFlow's own
        self.compile(optimizer=make_optimizer(config, steps), auto_scale_loss=False, jit_compile=False)

    def call(self, images: Tensor, training: bool | None = None) -> Sequence[Tensor]:
        """The raw outputs of the heads."""
        heads = self.network(images, training=training)
        return list(heads) if isinstance(heads, list | tuple) else [heads]  # one alone is in no list

    @property
    def metrics(self) -> list[Any]:
        """The loss and its parts; `train_on_batch` returns them for its batch."""
        return list(self._means.values())

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Called by Keras with what `train_on_batch` was given."""
        del x, sample_weight, training
        parts = self._yolo_loss(y["truths"], y["heads"], y_pred)
        total = parts.total
        for name, value in zip(LOSS_NAMES, (total, parts.box, parts.objectness, parts.classes), strict=True):
            self._means[name].update_state(value)
        return total
