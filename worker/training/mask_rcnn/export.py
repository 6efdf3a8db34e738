"""The result of a training run: weights in Matterport's layout, class names, and the entry for the catalogue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shared.entries import MaskRcnnEntry
from worker.models.mask_rcnn.plan import LayerWeights, Weights
from worker.models.mask_rcnn.weights_matterport import write_matterport
from worker.training.errors import TrainingError
from worker.training.replacing import replacing

#: of a channel before normalisation, in float16; far above its epsilon, and far below the largest number
MAX_DEVIATION: Final = 16.0


def write_model(
    folder: Path,
    entry: MaskRcnnEntry,
    weights: Weights,
    labels: Sequence[str],
    *,
    half: bool = False,
) -> None:
    """Write the files that an entry names; each is replaced whole or not at all.

    Args:
        folder: where to.
        entry: names the files.
        weights: of all layers, in the shapes of `Plan.layers`.
        labels: the class names.
        half: store float16, for half the size.

    Raises:
        TrainingError: a weight is too large for float16, or no number.
    """
    if half:
        weights = shrink(weights)
    limit = float(np.finfo(np.float16 if half else np.float32).max)
    for layer, values in weights.items():
        if not all(np.abs(each).max() <= limit for each in values.values()):
            raise TrainingError(f"the weights of {layer} do not fit into the file" + (" as float16" if half else ""))
    with replacing(folder / entry.classes.name) as scratch:
        scratch.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    with replacing(folder / entry.weights.name) as scratch:
        write_matterport(scratch, weights, half=half)


def shrink(weights: Weights) -> LayerWeights:
    """The same network with smaller numbers, for float16, which ends at 65504.

    Pixels have a deviation of about 70, so what the first layers give has variances of many thousands. A channel whose
    kernel, bias and running average are halved is the same after normalisation, but for epsilon, if its variance is
    quartered.

    Args:
        weights: of all layers, by Matterport's names.
    """
    found = {layer: dict(values) for layer, values in weights.items()}
    for layer, values in found.items():
        if "moving_variance" not in values:
            continue
        convolution = found[_convolution_of(layer)]
        deviation = np.sqrt(values["moving_variance"])
        # powers of two lose nothing
        factor = np.exp2(-np.ceil(np.log2(np.maximum(deviation / MAX_DEVIATION, 1)))).astype(np.float32)
        values["moving_mean"] = values["moving_mean"] * factor
        values["moving_variance"] = values["moving_variance"] * factor * factor
        convolution["kernel"] = convolution["kernel"] * factor
        convolution["bias"] = convolution["bias"] * factor
    return found


def _convolution_of(normalisation: str) -> str:
    """The layer before: "res2a_branch1" for "bn2a_branch1", "conv1", "mrcnn_mask_conv1" for "mrcnn_mask_bn1"."""
    if normalisation == "bn_conv1":
        return "conv1"
    if normalisation.startswith("bn"):
        return f"res{normalisation.removeprefix('bn')}"
    return normalisation.replace("_bn", "_conv")
