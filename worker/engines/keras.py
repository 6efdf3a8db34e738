"""Keras itself, on the backend it is set to: for the GPU, and for what OpenVINO does not run."""

from typing import Final

import keras
import numpy as np

from worker.engines.base import Array, Recipe


class KerasSession:
    """A Keras model, run by a function that Keras compiles once for the backend.

    Not `predict`: its data pipeline costs more than a small network, and is made for data sets.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.engine: Final[str] = f"keras-{keras.config.backend()}"
        self.precision: Final[str] = "f32"
        self._model = recipe.build()

    def run(self, batch: Array) -> list[Array]:
        """Run the network on all images at once."""
        outputs = self._model.predict_on_batch(np.ascontiguousarray(batch, np.float32))
        return [np.asarray(output, np.float32) for output in (outputs if isinstance(outputs, list) else [outputs])]
