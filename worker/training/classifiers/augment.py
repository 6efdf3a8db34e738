"""Training pictures made anew each time, by Keras' layers. Imports Keras."""

from typing import Any, Final

import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from worker.training.classifiers.config import PhotoAugmentation

Layer = Any

#: of the brightest pixel
WHITE: Final = 255.0


class PhotoAugmenter:
    """Changes pictures as the settings say.

    Args:
        augmentation: the settings.
    """

    def __init__(self, augmentation: PhotoAugmentation) -> None:
        self.layers: list[Layer] = []
        if augmentation.flip:
            self.layers.append(layers.RandomFlip("horizontal"))
        if (turns := augmentation.rotation) > 0:
            self.layers.append(layers.RandomRotation(turns))
        if (share := augmentation.zoom) > 0:
            self.layers.append(layers.RandomZoom((-share, share)))
        if (share := augmentation.brightness) > 0:
            self.layers.append(layers.RandomBrightness(share, value_range=(0, WHITE)))
        if (share := augmentation.shear) > 0:
            self.layers.append(layers.RandomShear(share, share))

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Each picture of (batch, height, width, 3) changed in its own way; float32 from 0 to 255."""
        changed = ops.convert_to_tensor(pictures.astype(np.float32))
        for layer in self.layers:
            changed = layer(changed, training=True)
        return np.asarray(np.clip(ops.convert_to_numpy(changed), 0, WHITE), np.float32)


def reseed(layers_: list[Layer], *seed: int) -> None:
    """Let layers that draw at random begin anew, each in its own way.

    What they draw then does not depend on what ran before.

    Args:
        layers_: also those that draw nothing.
        seed: the same numbers give the same draws.
    """
    for index, layer in enumerate(layers_):
        generator = getattr(layer, "generator", None) or getattr(layer, "seed_generator", None)
        if generator is not None:
            state = np.random.SeedSequence([*seed, index]).generate_state(2) >> 1
            generator.state.assign(state.astype(generator.state.dtype))
