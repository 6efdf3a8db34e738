"""How weights follow their gradients, and the running average of them. Imports Keras."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import keras
from keras import ops
from numpy.typing import NDArray

from worker.engines import KerasModel
from worker.training.config import RunConfig

Tensor: TypeAlias = Any
#: a `keras.optimizers.Optimizer`
Optimizer: TypeAlias = Any

CLIP_NORM: Final = 10.0


def make_optimizer(config: RunConfig, steps: int) -> Optimizer:
    """AdamW (arXiv 1711.05101), with the gradient's norm clipped and no decay of biases and normalisation.

    Args:
        config: of the run.
        steps: in which the learning rate rises linearly, and then falls as a half cosine to 0.
    """
    warmup = max(1, round(config.warmup * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=config.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=CLIP_NORM)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.precision == "mixed_float16" else optimizer


def read_variables(variables: Mapping[str, Sequence[Any]]) -> dict[str, list[NDArray[Any]]]:
    """The values of named lists of variables, for a checkpoint."""
    return {name: [ops.convert_to_numpy(each) for each in part] for name, part in variables.items()}


def write_variables(variables: Mapping[str, Sequence[Any]], arrays: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Give variables the values that `read_variables` has read."""
    for name, part in variables.items():
        for variable, value in zip(part, arrays[name], strict=True):
            variable.assign(value)


class AverageWeights:
    """The running average of a network's trained weights, which is better than the last ones (arXiv 1412.6980, 7.2).

    Args:
        variables: to follow.
        decay: of the average; less in the first steps, so that it does not remember the beginning.
    """

    def __init__(self, variables: Sequence[Any], decay: float) -> None:
        self._variables = variables
        self._decay = decay
        self.values: list[Tensor] = [ops.copy(variable.value) for variable in variables]

    def update(self, step: int) -> None:
        """Take the present weights in; `step` counts from 1."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        self.values = [
            average + (variable.value - average) * share
            for average, variable in zip(self.values, self._variables, strict=True)
        ]

    def assign_to(self, network: KerasModel, trained: KerasModel) -> None:
        """Give `network`, built like `trained`, the averages, and the other weights of `trained` as they are."""
        averages = {variable.path: value for variable, value in zip(self._variables, self.values, strict=True)}
        for target, variable in zip(network.weights, trained.weights, strict=True):
            target.assign(averages.get(variable.path, variable.value))
