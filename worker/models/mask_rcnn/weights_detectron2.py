"""Weights of Detectron2's model zoo (`mask_rcnn_R_50_FPN_3x` and its like): read, and put into Matterport's terms.

The format: a pickle of {"model": {name: array}, ...} or of the inner dictionary. Names are PyTorch's module paths, for
instance `backbone.bottom_up.res2.0.conv1.norm.running_mean`; kernels are (out, in, height, width), of linear layers
(out, in), of transposed convolutions (in, out, height, width).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.arrays_pickle import load_arrays
from worker.models.mask_rcnn.errors import MaskRcnnError
from worker.models.mask_rcnn.plan import BOX_POOL, LayerWeights, Plan, block_name

Floats = NDArray[np.float32]

#: dy, dx, dh, dw from Detectron2's dx, dy, dw, dh
DELTAS: Final = (1, 0, 3, 2)
#: what is in the files and computed or configured here
IGNORED: Final = ("proposal_generator.anchor_generator.", "pixel_mean", "pixel_std")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a layer is in the file.

    Args:
        name: of the module.
        kernel: turns its weight into ours.
        bias: turns its bias into ours.
        shape: of its weight.
    """

    name: str
    shape: tuple[int, ...]
    kernel: Callable[[Floats], Floats]
    bias: Callable[[Floats], Floats]
    biased: bool = True


def read_detectron2(path: Path, plan: Plan) -> LayerWeights:
    """Read the weights of a network.

    Args:
        path: a `.pkl` file. Nothing in it is run, see `arrays_pickle`.
        plan: the network it belongs to.

    Returns:
        Of each layer of `plan.layers` its weights, with Matterport's names, shapes and orders: classes begin with the
        background, deltas are dy, dx, dh, dw, images are RGB.

    Raises:
        MaskRcnnError: it is no such file, or of another network; the message names the first layer that differs.
        OSError: it cannot be read.
    """
    document = load_arrays(path)
    arrays = document.get("model", document)
    if not isinstance(arrays, dict):
        raise MaskRcnnError(f"{path.name} holds no weights by name")
    left = {
        name: each for name, each in arrays.items() if isinstance(each, np.ndarray) and not name.startswith(IGNORED)
    }

    def take(name: str, shape: tuple[int, ...]) -> Floats:
        values = left.pop(name, None)
        if not isinstance(values, np.ndarray):
            raise MaskRcnnError(f"{path.name} has no {name}, which a {plan.backbone} with these settings has")
        if values.shape != shape:
            raise MaskRcnnError(f"{name} is {values.shape} in {path.name}, and should be {shape}")
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise MaskRcnnError(f"{name} in {path.name} is not all numbers")
        return values.astype(np.float32)

    sources = dict(_convolutions(plan)) | dict(_heads(plan))
    result: LayerWeights = {}
    for layer, shapes in plan.layers().items():
        if "gamma" in shapes:
            norm = f"{sources['res' + layer[2:] if layer != 'bn_conv1' else 'conv1'].name}.norm"
            result[layer] = {
                ours: take(f"{norm}.{theirs}", shapes[ours])
                for ours, theirs in (
                    ("gamma", "weight"),
                    ("beta", "bias"),
                    ("moving_mean", "running_mean"),
                    ("moving_variance", "running_var"),
                )
            }
            continue
        source = sources[layer]
        kernel = source.kernel(take(f"{source.name}.weight", source.shape))
        bias = np.zeros(shapes["bias"], np.float32)
        if source.biased:
            bias = source.bias(take(f"{source.name}.bias", _bias_shape(layer, source)))
        result[layer] = {"kernel": np.ascontiguousarray(kernel), "bias": bias}
    if left:
        raise MaskRcnnError(f"{path.name} has {min(left)}, which a {plan.backbone} with these settings has not")
    return result


def _bias_shape(layer: str, source: _Source) -> tuple[int, ...]:
    return source.shape[1:2] if layer == "mrcnn_mask_deconv" else source.shape[:1]


def _as_is(values: Floats) -> Floats:
    return values


def _spatial(values: Floats) -> Floats:
    """(out, in, height, width) to (height, width, in, out)."""
    return values.transpose(2, 3, 1, 0)


def _convolutions(plan: Plan) -> list[tuple[str, _Source]]:
    """Backbone and feature pyramid."""
    shapes = {name: each["kernel"] for name, each in plan.layers().items() if "kernel" in each}

    def convolution(ours: str, theirs: str, *, biased: bool) -> tuple[str, _Source]:
        height, width, source, filters = shapes[ours]
        return ours, _Source(theirs, (filters, source, height, width), _spatial, _as_is, biased)

    def stem(values: Floats) -> Floats:
        return _spatial(values)[:, :, ::-1]  # the channels are blue, green, red there

    backbone = "backbone.bottom_up"
    name, first = convolution("conv1", f"{backbone}.stem.conv1", biased=False)
    found = [(name, _Source(first.name, first.shape, stem, _as_is, biased=False))]
    branches = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
    for stage, blocks, _, _ in plan.stages():
        for index in range(blocks):
            for ours, theirs in branches.items():
                layer = f"res{block_name(stage, index)}_branch{ours}"
                if layer in shapes:
                    found.append(convolution(layer, f"{backbone}.res{stage}.{index}.{theirs}", biased=False))
    for level in (2, 3, 4, 5):
        found.append(convolution(f"fpn_c{level}p{level}", f"backbone.fpn_lateral{level}", biased=True))
        found.append(convolution(f"fpn_p{level}", f"backbone.fpn_output{level}", biased=True))
    return found


def _heads(plan: Plan) -> list[tuple[str, _Source]]:
    """Region proposal network, box head and mask head."""
    anchors, hidden, pyramid = plan.anchors_per_cell, plan.rpn_channels, plan.fpn_channels
    objects, units, filters = plan.classes - 1, plan.head_channels, plan.mask_channels

    def against_zero(values: Floats) -> Floats:
        """One logit an anchor to two, the background's being 0: the same probability."""
        return np.stack([np.zeros_like(values), values], axis=1).reshape(2 * anchors, *values.shape[1:])

    def per_anchor(values: Floats) -> Floats:
        return values.reshape(anchors, 4, *values.shape[1:])[:, DELTAS].reshape(values.shape)

    def background_first(values: Floats) -> Floats:
        return np.roll(values, 1, axis=0)

    def per_class(values: Floats) -> Floats:
        """Without a background there; its deltas are 0 here and never looked at."""
        ordered = values.reshape(objects, 4, *values.shape[1:])[:, DELTAS]
        return np.concatenate([np.zeros_like(ordered[:1]), ordered]).reshape(4 * (objects + 1), *values.shape[1:])

    def with_background(values: Floats) -> Floats:
        return np.concatenate([np.zeros_like(values[:1]), values])

    def then_spatial(order: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        return lambda values: _spatial(order(values))

    def then_transposed(order: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        return lambda values: order(values).T

    rpn, box, mask = "proposal_generator.rpn_head", "roi_heads.box", "roi_heads.mask_head"
    found = [
        ("rpn_conv_shared", _Source(f"{rpn}.conv", (hidden, pyramid, 3, 3), _spatial, _as_is)),
        (
            "rpn_class_raw",
            _Source(f"{rpn}.objectness_logits", (anchors, hidden, 1, 1), then_spatial(against_zero), against_zero),
        ),
        (
            "rpn_bbox_pred",
            _Source(f"{rpn}.anchor_deltas", (4 * anchors, hidden, 1, 1), then_spatial(per_anchor), per_anchor),
        ),
        (
            "mrcnn_class_conv1",
            _Source(
                f"{box}_head.fc1",
                (units, pyramid * BOX_POOL * BOX_POOL),
                lambda values: _spatial(values.reshape(units, pyramid, BOX_POOL, BOX_POOL)),
                _as_is,
            ),
        ),
        (
            "mrcnn_class_conv2",
            _Source(f"{box}_head.fc2", (units, units), lambda values: values.T[np.newaxis, np.newaxis], _as_is),
        ),
        (
            "mrcnn_class_logits",
            _Source(
                f"{box}_predictor.cls_score",
                (objects + 1, units),
                then_transposed(background_first),
                background_first,
            ),
        ),
        (
            "mrcnn_bbox_fc",
            _Source(f"{box}_predictor.bbox_pred", (4 * objects, units), then_transposed(per_class), per_class),
        ),
        (
            "mrcnn_mask_deconv",
            _Source(f"{mask}.deconv", (filters, filters, 2, 2), lambda values: values.transpose(2, 3, 1, 0), _as_is),
        ),
        (
            "mrcnn_mask",
            _Source(f"{mask}.predictor", (objects, filters, 1, 1), then_spatial(with_background), with_background),
        ),
    ]
    for index in (1, 2, 3, 4):
        shape = (filters, plan.mask_source(index), 3, 3)
        found.append((f"mrcnn_mask_conv{index}", _Source(f"{mask}.mask_fcn{index}", shape, _spatial, _as_is)))
    return found
