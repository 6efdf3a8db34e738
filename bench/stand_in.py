"""A model of which only the network is at hand: seeded random weights take as long as trained ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from shared.catalog import load_catalog
from shared.entries import DarknetEntry
from shared.settings import get_settings
from tests.worker.darknet_files import random_weights
from worker.models.darknet.cfg import Convolutional, Yolo, load_cfg
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import ConvolutionWeights, write_weights

#: of the objectness: a random head would find thousands of things, and to choose among them is not what is measured
_NOTHING: Final = np.float32(-6)

_CATALOG: Final = """\
default = "{name}"
[models."{name}"]
family = "darknet"
title = "{name}, random weights"
description = "It finds nothing."
licence = "none"
image_size = [{size}, {size}]
config.name = "{config}"
weights.name = "{weights}"
classes.name = "{classes}"
"""


def stand_in(name: str, weights_dir: Path, folder: Path, size: int) -> Path:
    """Make the files of a Darknet model in a folder, from its .cfg and its list of classes.

    Args:
        name: of the model in the catalogue.
        weights_dir: where the two are.
        folder: empty.
        size: side of the network's input.

    Returns:
        The catalogue that has this model alone.
    """
    entry = load_catalog(get_settings().catalog).models[name]
    if not isinstance(entry, DarknetEntry):
        raise SystemExit(f"{name} is not a Darknet model")
    for file in (entry.config, entry.classes):
        (folder / file.name).write_bytes((weights_dir / file.name).read_bytes())
    write_weights(folder / entry.weights.name, _quiet(make_plan(load_cfg(folder / entry.config.name))))
    catalog = folder / "catalog.toml"
    names = {"config": entry.config.name, "weights": entry.weights.name, "classes": entry.classes.name}
    catalog.write_text(_CATALOG.format(name=name, size=size, **names))
    return catalog


def _quiet(plan: Plan) -> Iterator[ConvolutionWeights]:
    """Random weights with heads that see nothing anywhere."""
    layers = [step.layer for step in plan.layers]
    following = [
        after for layer, after in zip(layers, (*layers[1:], None), strict=True) if isinstance(layer, Convolutional)
    ]
    for weights, after in zip(random_weights(plan), following, strict=True):
        if isinstance(after, Yolo):
            weights.kernels[:] *= np.float32(0.02)
            weights.bias[4 :: 5 + after.classes] = _NOTHING
        yield weights
