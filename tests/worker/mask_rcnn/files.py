"""Small Mask R-CNNs with seeded weights, and files of them as other people's programs write them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry
from worker.models.mask_rcnn.plan import Plan

Floats = NDArray[np.float32]
Weights = dict[str, dict[str, Floats]]

CLASSES = 5
#: of the usual size of weights, where with that all scores would be 0 or 1 and all boxes huge
SHARES = {
    "rpn_class_raw": 0.1,
    "rpn_bbox_pred": 0.03,
    "mrcnn_bbox_fc": 0.05,
    "mrcnn_class_logits": 0.15,
    "mrcnn_mask": 0.3,
}


def entry_of(weights: str = "small.h5", **changes: object) -> MaskRcnnEntry:
    """An entry for a ResNet-50 with an eighth of the channels, for photos of 128 pixels."""
    return MaskRcnnEntry.model_validate(
        {
            "name": "small",
            "family": "mask_rcnn",
            "title": "Small",
            "weights": {"name": weights},
            "classes": {"name": "small.names"},
            "backbone": "resnet50",
            "width": 8,
            "fpn_channels": 16,
            "rpn_channels": 24,
            "head_channels": 32,
            "mask_channels": 12,
            "anchor_scales": (8, 16, 32, 64, 128),
            "min_side": 100,
            "max_side": 128,
            "proposals": 60,
            **changes,
        }
    )


def plan_of(**changes: object) -> Plan:
    return Plan.of(entry_of(**changes), CLASSES)  # type: ignore[arg-type]


def random_weights(plan: Plan, seed: int = 0) -> Weights:
    """Seeded weights that keep activations near 1, and scores and deltas where differences show."""
    random = np.random.default_rng(seed)
    found: Weights = {}
    for layer, shapes in plan.layers().items():
        found[layer] = {}
        for weight, shape in shapes.items():
            if weight == "kernel":
                fan_in = np.prod(shape[:-1]) if layer != "mrcnn_mask_deconv" else shape[-1]
                values = random.normal(0, np.sqrt(2 / fan_in), shape)
            elif weight in {"gamma", "moving_variance"}:
                values = random.uniform(0.5, 1.5, shape)
            else:
                values = random.normal(0, 0.1, shape)
            found[layer][weight] = values.astype(np.float32)
    found["conv1"]["kernel"] /= 64  # pixels are not near 1
    for layer, weights in found.items():
        if layer.startswith("bn") and layer.endswith("2c"):
            weights["gamma"] *= 0.3  # or the sums along the shortcuts grow
    for layer, share in SHARES.items():
        found[layer]["kernel"] *= share
    return found


def write_keras2(path: Path, weights: Weights, *, root: str = "/", dtype: str = "<f4", suffix: str = "") -> None:
    """As Keras 2 does: all layers are groups, those without weights, too; names are listed in attributes."""
    nested = {"rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"}
    order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    with h5py.File(path, "w") as file:
        top = file.require_group(root)
        tops = [
            "input_image",
            *(layer for layer in weights if layer not in nested),
            "rpn_model",
            "ROI",
            "mrcnn_mask_bn",
        ]
        top.attrs["layer_names"] = [name.encode() for name in tops]
        top.attrs["keras_version"] = b"2.0.8"
        for name in tops:
            group = top.create_group(name)
            members = [name] if name in weights else sorted(nested) if name == "rpn_model" else []
            names = [f"{each}{suffix}/{weight}:0" for each in members for weight in order if weight in weights[each]]
            group.attrs["weight_names"] = [each.encode() for each in names]
            for each in names:
                layer, weight = each.removesuffix(":0").split("/")
                group.create_dataset(each, data=weights[layer.removesuffix(suffix)][weight].astype(dtype))
        if root != "/":
            file.create_group("optimizer_weights").create_dataset("Adam/m:0", data=np.zeros(3))


def detectron2_arrays(plan: Plan, seed: int = 0) -> dict[str, Any]:
    """Seeded weights of the same network under Detectron2's names, in its order: made here from `random_weights`."""
    source = random_weights(plan, seed)
    random = np.random.default_rng(seed + 1)
    found: dict[str, Any] = {}

    def convolution(theirs: str, ours: str, *, bias: bool = False) -> None:
        found[f"{theirs}.weight"] = np.ascontiguousarray(source[ours]["kernel"].transpose(3, 2, 0, 1))
        if bias:
            found[f"{theirs}.bias"] = source[ours]["bias"]
        else:
            for name, part in zip(
                ("weight", "bias", "running_mean", "running_var"),
                ("gamma", "beta", "moving_mean", "moving_variance"),
                strict=True,
            ):
                norm = "bn_conv1" if ours == "conv1" else f"bn{ours[3:]}"
                found[f"{theirs}.norm.{name}"] = source[norm][part]

    bottom = "backbone.bottom_up"
    convolution(f"{bottom}.stem.conv1", "conv1")
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            for theirs, ours in (("conv1", "2a"), ("conv2", "2b"), ("conv3", "2c"), ("shortcut", "1")):
                if block == 0 or theirs != "shortcut":
                    name = f"res{stage}{'abcdef'[block]}_branch{ours}"
                    convolution(f"{bottom}.res{stage}.{block}.{theirs}", name)
    for level in (2, 3, 4, 5):
        convolution(f"backbone.fpn_lateral{level}", f"fpn_c{level}p{level}", bias=True)
        convolution(f"backbone.fpn_output{level}", f"fpn_p{level}", bias=True)

    def normal(name: str, *shape: int, share: float = 1.0) -> None:
        found[f"{name}.weight"] = random.normal(0, share * np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        found[f"{name}.bias"] = random.normal(0, 0.1, shape[:1]).astype(np.float32)

    anchors, pyramid, filters, units = plan.anchors_per_cell, plan.fpn_channels, plan.mask_channels, plan.head_channels
    rpn = "proposal_generator.rpn_head"
    normal(f"{rpn}.conv", plan.rpn_channels, pyramid, 3, 3)
    normal(f"{rpn}.objectness_logits", anchors, plan.rpn_channels, 1, 1)
    normal(f"{rpn}.anchor_deltas", 4 * anchors, plan.rpn_channels, 1, 1, share=0.01)
    normal("roi_heads.box_head.fc1", units, pyramid * 49)
    normal("roi_heads.box_head.fc2", units, units)
    normal("roi_heads.box_predictor.cls_score", CLASSES + 1, units, share=0.15)
    normal("roi_heads.box_predictor.bbox_pred", 4 * CLASSES, units, share=0.05)
    for index in (1, 2, 3, 4):
        normal(f"roi_heads.mask_head.mask_fcn{index}", filters, pyramid if index == 1 else filters, 3, 3)
    normal("roi_heads.mask_head.deconv", filters, filters, 2, 2)
    normal("roi_heads.mask_head.predictor", CLASSES, filters, 1, 1)
    for level, side in enumerate((8, 16, 32, 64, 128)):
        cells = np.full((3, 4), side, np.float32)
        found[f"proposal_generator.anchor_generator.cell_anchors.{level}"] = cells
    return found


def write_names(folder: Path) -> None:
    (folder / "small.names").write_text("\n".join(f"thing {index}" for index in range(CLASSES)))


def scene(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A photo of nothing: coloured rectangles."""
    random = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(12):
        y, x = random.integers(0, height), random.integers(0, width)
        image[y : y + random.integers(8, height // 2), x : x + random.integers(8, width // 2)] = random.integers(
            0, 255, 3
        )
    return image
