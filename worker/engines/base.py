"""What an engine takes and what it gives.

A model family describes each of its networks by a `Recipe` and gets a `Session` for it (`open_session`). A family with
several networks, for instance Mask R-CNN with a backbone, a box head and a mask head, opens one session for each:

    Recipe("darknet:...", build, outputs=2)                              # images in, as many as there are
    Recipe("mask_rcnn:...:box_head", build_head, outputs=2, batched=True)  # the first axis is a number of regions

    heads = detector.run(images)                 # images (1, 416, 416, 3)
    scores, deltas = box_head.run(regions)       # regions (1000, 7, 7, 256)
"""

from collections.abc import Callable, Sequence
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
        """The arithmetic it really runs in: "f32", "tf32", "bf16" or "int8"."""

    def run(self, *inputs: Array) -> list[Array]:
        """Run the network.

        Args:
            inputs: one array for each of the model's inputs, in the model's order; float32, others are converted.
                Channels are where the Keras model has them. Unless the recipe is `batched` all have the images along
                the first axis, as many in each and one at least; if it is, that axis may also be empty. An
                array of the engine's own, made of what it `kept`, goes in as it is, and all outputs are as long.

        Returns:
            The outputs in the model's order, each float32 and the caller's own: the next run does not change them.
            Unless the recipe is `batched` each has the images along the first axis. What the recipe says is `kept` may
            be an array of the engine's own, with more along that axis than the inputs have; `np.asarray` fetches it.

        Raises:
            ValueError: another number of inputs than the model has, or other numbers of images in them; no image.
        """


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to get a network.

    Args:
        key: says which network with which weights it is: the same key, the same network. It must change with the
            weights, with what the network is built from, and with the code that builds it.
        build: makes it, a `keras.Model` of float32 inputs and float32 outputs (one or a flat list). Only the first
            dimension of an input may be open (None), and with `batched` it is. May be slow; is called after the
            backend has been chosen, and not at all if a converted one is at hand, so Keras is imported in there.
        outputs: how many outputs it has.
        batched: what the first axis of an input is. False: images, which have nothing to do with each other. An
            engine may then run them one at a time (on a CPU that is as fast as all at once), and makes the network
            for one image, with all shapes known. True: anything, and another length at each call, for instance the
            regions of an image, or an image and its regions in one network. Then the inputs go in as they are.
        kept: so many of the first outputs the caller does not read, but gives them to what computes where they are.
            On a GPU they stay there, if the engine can do that: to fetch the feature maps of a photo may take ten
            times as long as to compute them.
        exact: it computes with coordinates, or with anything else that 8 bits of mantissa spoil: always in float32.
    """

    key: str
    build: Callable[[], KerasModel]
    outputs: int
    batched: bool = False
    kept: int = 0
    exact: bool = False


def check_inputs(inputs: Sequence[Array], expected: int, *, batched: bool) -> None:
    """Raise `ValueError` unless there are as many inputs as expected, and the same images in all (if not `batched`)."""
    if len(inputs) != expected:
        raise ValueError(f"the network has {expected} inputs, and {len(inputs)} were given")
    if batched:
        return
    counts = {len(each) for each in inputs}
    if counts == {0} or len(counts) != 1:
        raise ValueError(f"the inputs have {sorted(counts)} images, which must be as many in each, and one at least")
