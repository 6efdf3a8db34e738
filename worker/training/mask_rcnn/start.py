"""What a network in training begins with: random weights, or such of another network, layer by layer."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.darknet.cfg import Convolutional, load_cfg
from worker.models.darknet.network import EPSILON
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import ConvolutionWeights, read_weights
from worker.models.mask_rcnn.plan import LayerWeights, Plan
from worker.models.mask_rcnn.weights_matterport import read_layers
from worker.training.errors import TrainingError

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]

#: the layers that say something: nothing in particular at first
LAST_LAYERS: Final = frozenset({"rpn_class_raw", "rpn_bbox_pred", "mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"})
LAST_DEVIATION: Final = 0.01
#: pixels reach the first layer as they are, not in units of their deviation
FIRST_SHARE: Final = 0.25
#: of the last batch normalisation of a residual block: a block that adds little at first lets a deep network learn from
#: the first step (arXiv 1706.02677, section 5.1)
BLOCK_GAMMA: Final = 0.2
#: pixels of a Mask R-CNN go to 255, of a Darknet to 1
PIXELS: Final = 255.0


def first_weights(plan: Plan, seed: int) -> LayerWeights:
    """Weights to start from, in the shapes of `plan.layers`: He's (arXiv 1502.01852)."""
    random = np.random.default_rng(seed)
    ends = "_branch2c" if plan.bottleneck else "_branch2b"
    found: LayerWeights = {}
    for name, shapes in plan.layers().items():
        if "gamma" in shapes:
            gamma = BLOCK_GAMMA if name.endswith(ends) else 1.0
            values = {"gamma": gamma, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0}
            found[name] = {weight: np.full(shape, values[weight], np.float32) for weight, shape in shapes.items()}
            continue
        kernel = shapes["kernel"]
        # of a transposed convolution with stride 2 and size 2 each output has one input
        inputs = kernel[-1] if name == "mrcnn_mask_deconv" else int(np.prod(kernel[:-1]))
        deviation = LAST_DEVIATION if name in LAST_LAYERS else float(np.sqrt(2 / inputs))
        if name == "conv1":
            deviation *= FIRST_SHARE
        found[name] = {
            "kernel": random.standard_normal(kernel, np.float32) * np.float32(deviation),
            "bias": np.zeros(shapes["bias"], np.float32),
        }
    return found


def start_weights(plan: Plan, seed: int, path: Path | None) -> LayerWeights:
    """First weights, and those of a file instead, as far as they fit.

    Args:
        plan: the network.
        seed: of the random ones.
        path: of a Mask R-CNN in Matterport's layout (`.h5`): layers of the same name and shapes are taken over. Or of a
            Darknet (`.weights`, with its `.cfg` beside it) for a "darknet" backbone: its first convolutions are.

    Raises:
        ModelFileError: the file cannot be read.
        TrainingError: nothing of it fits.
    """
    weights = first_weights(plan, seed)
    if path is None:
        return weights
    given = _of_darknet(plan, path) if path.suffix == ".weights" else read_layers(path)
    same = {name: values for name, values in given.items() if name in weights and _fits(values, weights[name])}
    if not same:
        raise TrainingError(f"{path.name} has no layer that a {plan.backbone} with these settings has")
    logger.info("weights of %d of %d layers are taken over", len(same), len(weights))
    return weights | same


def _fits(values: Mapping[str, Floats], wanted: Mapping[str, Floats]) -> bool:
    return {name: each.shape for name, each in values.items()} == {name: each.shape for name, each in wanted.items()}


def _of_darknet(plan: Plan, path: Path) -> LayerWeights:
    """The backbone of a detector, by this network's names; the layers up to the first that has another shape."""
    network = make_plan(load_cfg(path.with_suffix(".cfg")))
    values = read_weights(path, network)
    ours = [name for name in plan.layers() if name.startswith(("conv1", "res"))]
    theirs = [values[step.index] for step in network.layers if isinstance(step.layer, Convolutional)]
    found: LayerWeights = {}
    shapes = plan.layers()
    for name, each in zip(ours, theirs, strict=False):
        if plan.backbone != "darknet" or each.kernels.transpose(2, 3, 1, 0).shape != shapes[name]["kernel"]:
            break
        if each.normalisation is None:
            break
        found |= _converted(name, each, plan.epsilon)
    return found


def _converted(name: str, given: ConvolutionWeights, epsilon: float) -> LayerWeights:
    """A convolution and its normalisation, which gives the same with another epsilon: it divides by 1."""
    assert given.normalisation is not None  # noqa: S101 -- the caller looked
    deviation = np.sqrt(given.normalisation.variance + EPSILON)
    kernel = given.kernels.transpose(2, 3, 1, 0) / deviation
    if name == "conv1":
        kernel = kernel / PIXELS
    normalisation = "bn_conv1" if name == "conv1" else f"bn{name.removeprefix('res')}"
    return {
        name: {"kernel": kernel.astype(np.float32), "bias": np.zeros_like(given.bias)},
        normalisation: {
            "gamma": given.normalisation.scale,
            "beta": given.bias,
            "moving_mean": (given.normalisation.mean / deviation).astype(np.float32),
            "moving_variance": np.full_like(given.bias, 1 - epsilon),
        },
    }
