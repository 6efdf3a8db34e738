"""What an engine takes and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: a `keras.Model`; Keras comes without types
KerasModel: TypeAlias = Any


class Session(Protocol):
    """A network that is ready to run. Not for several threads at once."""

    @property
    def engine(self) -> str:
        """What runs it, for instance "openvino"."""

    @property
    def precision(self) -> str:
        """The arithmetic: "f32" or "bf16"."""

    def run(self, batch: Array) -> list[Array]:
        """Run the network.

        Args:
            batch: float32 (images, height, width, channels).

        Returns:
            The outputs in the model's order, each float32 with the images along the first axis.
        """


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to get a network.

    Args:
        key: says which network with which weights it is: the same key, the same network.
        build: makes it, a `keras.Model` with one image input of a fixed size and a list of outputs. May be slow;
            is called after the backend has been chosen, and not at all if a converted one is at hand.
        outputs: how many outputs it has.
    """

    key: str
    build: Callable[[], KerasModel]
    outputs: int
