"""The network in training. Imports Keras."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from shared.runs import Backbone
from worker.engines import KerasModel
from worker.models.classifiers.networks import build_application
from worker.training.classifiers.config import ClassificationConfig
from worker.training.config import Precision
from worker.training.optimizing import Optimizer, make_optimizer
from worker.training.precision import layers_in

#: the classes of ImageNet, which weights to begin with are for
IMAGENET: Final = 1000
#: of the running averages of batch normalisation; Keras' 0.99 lags behind in a run of a few hundred steps
MOMENTUM: Final = 0.9
#: of the first weights of the last layer: nothing in particular is said at first
LAST_DEVIATION: Final = 0.01

_BACKBONES: Final[dict[Backbone, Callable[..., KerasModel]]] = {
    "mobilenet_v2": keras.applications.MobileNetV2,
    "resnet50": keras.applications.ResNet50,
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run, with its own optimizer.

    Args:
        first: its first epoch, from 1.
        epochs: how many it has.
        share: of the backbone's layers that learn, the last ones; the new last layer always does.
        learning_rate: the highest.
    """

    first: int
    epochs: int
    share: float
    learning_rate: float

    @property
    def last(self) -> int:
        """Its last epoch."""
        return self.first + self.epochs - 1


def stages(config: ClassificationConfig, *, scratch: bool) -> tuple[Stage, ...]:
    """The stages of a run: all at once from scratch; else first the last layer, then those before it, too."""
    if scratch:
        return (Stage(1, config.epochs, 1.0, config.learning_rate),)
    head = round(config.frozen * config.epochs)
    both = (
        Stage(1, head, 0.0, config.learning_rate),
        Stage(head + 1, config.epochs - head, config.unfrozen, config.learning_rate * config.fine_tuning),
    )
    return tuple(stage for stage in both if stage.epochs)


def build_network(config: ClassificationConfig, classes: int, precision: Precision = "float32") -> KerasModel:
    """A backbone with a new last layer, with random weights.

    In: float32 (batch, height, width, 3), colours as the backbone wants them. Out: logits, float32 (batch, classes).
    """
    with layers_in(precision):
        backbone = _BACKBONES[config.backbone](include_top=False, weights=None, input_shape=(*config.image_size, 3))
        values = layers.GlobalAveragePooling2D(name="pool")(backbone.output)
        values = layers.Dropout(config.dropout, name="dropout")(values)
        first = keras.initializers.RandomNormal(stddev=LAST_DEVIATION)
        logits = layers.Dense(classes, kernel_initializer=first, dtype="float32", name="logits")(values)
        return keras.Model(backbone.input, logits, name=config.backbone)


def with_probabilities(network: KerasModel) -> KerasModel:
    """The same network, whose output are probabilities."""
    return keras.Model(
        network.input, layers.Activation("softmax", dtype="float32", name="classes")(network.output), name=network.name
    )


def load_backbone(network: KerasModel, config: ClassificationConfig, weights: Path) -> None:
    """Give the layers of the backbone the weights of a file of ImageNet's 1000 classes.

    Raises:
        ModelFileError: it is of another network.
        OSError: it cannot be read.
    """
    given = build_application(config.backbone, weights, config.image_size, IMAGENET)
    theirs = {layer.name: layer for layer in given.layers}
    for layer in network.layers:
        if layer.weights and layer.name in theirs:
            layer.set_weights(theirs[layer.name].get_weights())


class TrainedNetwork:
    """A network with its loss and optimizer.

    Args:
        config: how to train.
        classes: how many to tell apart.
        weights: of the backbone; None: from scratch.
    """

    def __init__(self, config: ClassificationConfig, classes: int, weights: Path | None) -> None:
        keras.utils.set_random_seed(config.seed)
        self._config = config
        self._scratch = weights is None
        self.network = build_network(config, classes, config.precision)
        if weights is not None:
            load_backbone(self.network, config, weights)
        self._set_momentum(MOMENTUM)

    def see_first(self, images: NDArray[np.float32]) -> None:
        """From scratch: begin the running averages of batch normalisation with those of some pictures.

        Keras begins with a variance of 1. After a few dozen steps its remnant still exceeds the true variance of many
        layers, and the network is blind where it is right in training.
        """
        if self._scratch:
            self._set_momentum(0.0)
            self.network(images, training=True)
            self._set_momentum(MOMENTUM)

    def _set_momentum(self, momentum: float) -> None:
        for layer in self.network.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = momentum

    def begin(self, stage: Stage, steps: int) -> None:
        """Set a stage up; `steps` are those of the whole stage."""
        backbone = [layer for layer in self.network.layers if layer.name not in {"pool", "dropout", "logits"}]
        kept = len(backbone) - round(stage.share * len(backbone))
        for index, layer in enumerate(backbone):
            # of a trained backbone normalisation keeps its statistics: the new pictures are too few for their own
            normalises = isinstance(layer, layers.BatchNormalization)
            layer.trainable = index >= kept and (self._scratch or not normalises)
        config = self._config.model_copy(update={"learning_rate": stage.learning_rate})
        optimizer = make_optimizer(config, steps)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=self._config.label_smoothing)
        # XLA makes convolutions on a CPU three times slower than TensorFlow's own
        self.network.compile(optimizer=optimizer, loss=loss, auto_scale_loss=False, jit_compile=False)
        optimizer.build(self.network.trainable_variables)

    def step(self, images: NDArray[np.float32], truth: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
        """Learn from a batch; its loss.

        Args:
            images: as the network takes them.
            truth: (batch, classes), 1 for the class that each is of, else 0.
            weights: (batch,), how much each counts.
        """
        return float(self.network.train_on_batch(images, truth, sample_weight=weights, return_dict=True)["loss"])

    @property
    def optimizer(self) -> Optimizer:
        """Of the present stage."""
        return self.network.optimizer
