"""Darknet files for the tests, and OpenCV's Darknet importer as the independent judge of ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.models.darknet.cfg import Convolutional, Shortcut, Yolo
from worker.models.darknet.plan import Plan
from worker.models.darknet.weights import ConvolutionWeights, Normalisation, write_weights

Floats = NDArray[np.float32]

HEAD = """
[convolutional]
filters=12
size=1
activation=linear

[yolo]
mask=0,1
anchors=10,14, 23,27
classes=1
num=2
"""


def tiny_cfg(body: str, *, height: int = 13, width: int = 11) -> str:
    """A network of two convolutions, `body` and a head of two anchors and one class."""
    return f"""
[net]
width={width}
height={height}
channels=3

[convolutional]
filters=8
size=3
pad=1
batch_normalize=1
activation=leaky

[convolutional]
filters=8
size=3
pad=1
batch_normalize=1
activation=linear
{body}
{HEAD}
"""


def random_weights(plan: Plan, seed: int = 0) -> Iterator[ConvolutionWeights]:
    """Seeded weights that keep activations near 1 through any depth, so that differences mean something."""
    random = np.random.default_rng(seed)
    for step, following in zip(plan.layers, (*plan.layers[1:], None), strict=True):
        layer = step.layer
        if not isinstance(layer, Convolutional):
            continue
        filters = layer.filters
        kernels = random.standard_normal(step.kernel_shape, np.float32)
        kernels *= np.float32(np.sqrt(2 / np.prod(step.kernel_shape[1:])))
        bias = random.normal(0, 0.1, filters).astype(np.float32)
        normalisation = None
        if layer.batch_normalize:
            # what a shortcut adds is kept small, or each of them would double the variance
            gain = 0.3 if following is not None and isinstance(following.layer, Shortcut) else 1.0
            normalisation = Normalisation(
                (gain * random.uniform(0.8, 1.2, filters)).astype(np.float32),
                random.normal(0, 0.1, filters).astype(np.float32),
                random.uniform(0.6, 1.6, filters).astype(np.float32),
            )
        yield ConvolutionWeights(bias, normalisation, kernels)


def write_random_weights(path: Path, plan: Plan, seed: int = 0) -> Path:
    """Write `random_weights` in Darknet's format."""
    write_weights(path, random_weights(plan, seed))
    return path


def opencv_heads(cfg: Path, weights: Path, plan: Plan, batch: Floats) -> list[Floats]:
    """The raw outputs of all heads by OpenCV, as (1, rows, columns, channels)."""
    net: Any = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.enableWinograd(False)  # it trades precision for speed
    net.setInput(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
    names = [f"conv_{step.index - 1}" for step in plan.layers if isinstance(step.layer, Yolo)]
    return [np.asarray(output, np.float32).transpose(0, 2, 3, 1) for output in net.forward(names)]


def noise(plan: Plan, seed: int = 1) -> Floats:
    """A seeded input of the network."""
    shape = (1, plan.input.height, plan.input.width, 3)
    return np.random.default_rng(seed).random(shape, np.float32)


def largest_difference(ours: list[Floats], theirs: list[Floats]) -> float:
    """The largest absolute difference in any head; infinite if the shapes are not the same."""
    if [head.shape for head in ours] != [head.shape for head in theirs]:
        return float("inf")
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
