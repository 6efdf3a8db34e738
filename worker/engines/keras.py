"""Keras itself, on the backend it is set to: for the GPU, and for what OpenVINO does not run."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import keras
import numpy as np

from worker.engines.arithmetic import Arithmetic, choose_arithmetic, products_in, this_gpu
from worker.engines.base import Array, KerasModel, Recipe, check_inputs
from worker.engines.precision import Asked

#: an array of the backend, or a list of them
Tensors: TypeAlias = Any


class KerasSession:
    """A Keras model, run by a function that is compiled for the backend.

    Not `predict`: its data pipeline costs more than a small network, and is made for data sets.

    What compiles, compiles for one length of the first axis. So that no photo waits for that because it shows nine
    objects and the last one eight, the inputs are filled up to the next power of two.

    Args:
        recipe: the network.
        asked: the arithmetic. What the GPU does not have is replaced by what comes nearest, with a warning;
            `precision` says what it is.
    """

    def __init__(self, recipe: Recipe, asked: Asked = "f32") -> None:
        backend = keras.config.backend()
        self.engine: Final[str] = f"keras-{backend}"
        gpu = this_gpu()
        self.precision: Final[Arithmetic] = choose_arithmetic("f32" if recipe.exact else asked, gpu)
        self._model = recipe.build()
        self._batched = recipe.batched
        self._compiles = backend != "torch"
        self._kept = recipe.kept if gpu is not None and backend == "jax" else 0
        self._own = _jax_arrays() if backend == "jax" else ()
        self._call = _jax_function(self._model, self._kept) if backend == "jax" else self._model.predict_on_batch

    def run(self, *inputs: Array) -> list[Array]:
        """Run the network on all images at once."""
        check_inputs(inputs, len(self._model.inputs), batched=self._batched)
        length = len(inputs[0])
        arrays = [self._prepared(each, length) for each in inputs]
        with products_in(self.precision):
            outputs = self._call(arrays if len(arrays) > 1 else arrays[0])
        outputs = outputs if isinstance(outputs, list) else [outputs]
        # copies, which are the caller's to change; cut as arrays of NumPy, for JAX would compile that for each length
        fetched = [np.array(each, np.float32)[:length] for each in outputs[self._kept :]]
        return [*outputs[: self._kept], *fetched]

    def _prepared(self, array: Array | Tensors, length: int) -> Tensors:
        if isinstance(array, self._own):  # where the network is already, and of a length that is compiled for
            return array
        array = np.ascontiguousarray(array, np.float32)
        missing = filled(length) - length
        if not self._compiles or not missing:
            return array
        return np.concatenate([array, np.zeros((missing, *array.shape[1:]), np.float32)])


def filled(length: int) -> int:
    """The length that something of this length is filled up to: a power of two."""
    return 1 << max(0, length - 1).bit_length()


def _jax_arrays() -> tuple[type, ...]:
    import jax

    return (jax.Array,)


def _jax_function(model: KerasModel, kept: int) -> Callable[[Tensors], Tensors]:
    """The model as a function that changes nothing.

    Keras' own gives the weights away at each call and takes them back after it: a call that is interrupted, or that the
    GPU has no memory for, leaves a model without weights; and with hundreds of them it takes longer than a network.
    """
    import jax

    def call(weights: tuple[list[Tensors], list[Tensors]], inputs: Tensors) -> Tensors:
        outputs, _ = model.stateless_call(*weights, inputs, training=False)
        return outputs

    compiled = jax.jit(call)
    weights = (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )

    def run(inputs: Tensors) -> Tensors:
        outputs = compiled(weights, inputs)
        for each in outputs[kept:] if isinstance(outputs, list) else [outputs]:
            each.copy_to_host_async()  # all at once, before the first one is waited for
        return outputs

    return run
