"""In which arithmetic a network learns. Imports Keras."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from worker.training.config import Precision


@contextmanager
def layers_in(precision: Precision) -> Iterator[None]:
    """Layers that are made within compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
