"""Keras itself, on the backend it is set to: for the GPU, and for what OpenVINO does not run."""

from typing import Final

import keras
import numpy as np

from worker.engines.base import Array, Recipe, check_inputs


class KerasSession:
    """A Keras model, run by a function that Keras compiles once for the backend.

    Not `predict`: its data pipeline costs more than a small network, and is made for data sets.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.engine: Final[str] = f"keras-{keras.config.backend()}"
        self.precision: Final[str] = "f32"
        self._model = recipe.build()
        self._batched = recipe.batched

    def run(self, *inputs: Array) -> list[Array]:
        """Run the network on all images at once."""
        check_inputs(inputs, len(self._model.inputs), batched=self._batched)
        arrays = [np.ascontiguousarray(each, np.float32) for each in inputs]
        outputs = self._model.predict_on_batch(arrays if len(arrays) > 1 else arrays[0])
        return [np.asarray(output, np.float32) for output in (outputs if isinstance(outputs, list) else [outputs])]
