"""The reader of Detectron2's weights, against the layers as PyTorch defines them, written in NumPy here."""

import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.settings import Settings
from tests.worker.mask_rcnn.files import CLASSES, detectron2_arrays, entry_of, plan_of
from worker.engines import Recipe, open_session
from worker.models.mask_rcnn.errors import MaskRcnnError
from worker.models.mask_rcnn.heads import build_box_head, build_mask_head
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.trunk import build_trunk
from worker.models.mask_rcnn.weights_detectron2 import read_detectron2

Floats = NDArray[np.float32]


@pytest.fixture
def arrays() -> dict[str, Any]:
    return detectron2_arrays(plan_of(layout="detectron2"))


def convolve(x: Floats, kernel: Floats, bias: Floats) -> Floats:
    """PyTorch's, of (channels, rows, columns) by (out, in, 3 or 1, 3 or 1), padded to the same size."""
    side = kernel.shape[2] // 2
    padded = np.pad(x, ((0, 0), (side, side), (side, side)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))
    return np.asarray(np.einsum("cyxij,ocij->oyx", windows, kernel) + bias[:, None, None], np.float32)


def run(model: Any, settings: Settings, batch: Floats, *, outputs: int, batched: bool = True) -> list[Floats]:
    return open_session(Recipe(f"test:{id(model)}", lambda: model, outputs, batched=batched), settings).run(batch)


def write(path: Path, arrays: dict[str, Any], *, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "nobody"}, protocol))
    return path


def test_box_head(path: Path, arrays: dict[str, Any], settings: Settings) -> None:
    plan = plan_of(layout="detectron2")
    pooled = np.random.default_rng(0).random((9, 16, 7, 7), np.float32)
    head = "roi_heads.box"
    x = pooled.reshape(9, -1)
    for name in ("fc1", "fc2"):
        x = np.maximum(x @ arrays[f"{head}_head.{name}.weight"].T + arrays[f"{head}_head.{name}.bias"], 0)
    scores = x @ arrays[f"{head}_predictor.cls_score.weight"].T + arrays[f"{head}_predictor.cls_score.bias"]
    deltas = x @ arrays[f"{head}_predictor.bbox_pred.weight"].T + arrays[f"{head}_predictor.bbox_pred.bias"]
    model = build_box_head(plan, read_detectron2(write(path, arrays), plan))
    logits, corrections = run(model, settings, pooled.transpose(0, 2, 3, 1), outputs=2)
    np.testing.assert_allclose(logits[:, 1:], scores[:, :CLASSES], atol=1e-4)
    np.testing.assert_allclose(logits[:, 0], scores[:, CLASSES], atol=1e-4)  # the background is the last there
    dx, dy, dw, dh = np.moveaxis(deltas.reshape(9, CLASSES, 4), -1, 0)
    np.testing.assert_allclose(corrections[:, 1:], np.stack([dy, dx, dh, dw], axis=-1), atol=1e-4)


def test_mask_head(path: Path, arrays: dict[str, Any], settings: Settings) -> None:
    plan = plan_of(layout="detectron2")
    pooled = np.random.default_rng(1).random((16, 14, 14), np.float32)
    head = "roi_heads.mask_head"
    x = pooled
    for index in (1, 2, 3, 4):
        name = f"{head}.mask_fcn{index}"
        x = np.maximum(convolve(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"]), 0)
    kernel = arrays[f"{head}.deconv.weight"]  # (in, out, 2, 2), stride 2: no two inputs meet
    wide = np.einsum("cyx,coij->oyixj", x, kernel).reshape(kernel.shape[1], 28, 28)
    wide = np.maximum(wide + arrays[f"{head}.deconv.bias"][:, None, None], 0)
    expected = convolve(wide, arrays[f"{head}.predictor.weight"], arrays[f"{head}.predictor.bias"])
    model = build_mask_head(plan, read_detectron2(write(path, arrays), plan))
    (found,) = run(model, settings, pooled.transpose(1, 2, 0)[None], outputs=1)
    np.testing.assert_allclose(found[0, :, :, 1:], expected.transpose(1, 2, 0), atol=1e-4)


def test_region_proposal_network(path: Path, arrays: dict[str, Any], settings: Settings) -> None:
    """On P5, and on P6, which is every second cell of it."""
    plan = plan_of(layout="detectron2")
    image = np.random.default_rng(2).normal(0, 60, (1, 128, 160, 3)).astype(np.float32)
    model = build_trunk(plan, (128, 160), read_detectron2(write(path, arrays), plan))
    *maps, logits, deltas = run(model, settings, image, outputs=6, batched=False)
    assert [each.shape[1:3] for each in maps] == [(32, 40), (16, 20), (8, 10), (4, 5)]
    finest = maps[3][0].transpose(2, 0, 1)
    start = 3 * (32 * 40 + 16 * 20 + 8 * 10)
    for level in (finest, finest[:, ::2, ::2]):
        rpn = "proposal_generator.rpn_head"
        hidden = np.maximum(convolve(level, arrays[f"{rpn}.conv.weight"], arrays[f"{rpn}.conv.bias"]), 0)
        parts = [
            convolve(hidden, arrays[f"{rpn}.{name}.weight"], arrays[f"{rpn}.{name}.bias"])
            for name in ("objectness_logits", "anchor_deltas")
        ]
        objectness = parts[0].transpose(1, 2, 0).reshape(-1)
        dx, dy, dw, dh = np.moveaxis(
            parts[1].reshape(3, 4, *level.shape[1:]).transpose(2, 3, 0, 1).reshape(-1, 4), 1, 0
        )
        ours = slice(start, start + len(objectness))
        np.testing.assert_allclose(logits[0, ours, 1] - logits[0, ours, 0], objectness, atol=1e-3)
        np.testing.assert_allclose(deltas[0, ours], np.stack([dy, dx, dh, dw], axis=1), atol=1e-3)
        start += len(objectness)
    assert start == deltas.shape[1]


def test_the_backbone_is_keras_own_resnet50(path: Path, settings: Settings) -> None:
    """Another program's graph of the same network, with the same weights put into it."""
    plan = plan_of(layout="detectron2", width=64, fpn_channels=4, rpn_channels=4, head_channels=4, mask_channels=4)
    arrays = detectron2_arrays(plan)
    trunk = build_trunk(plan, (64, 96), read_detectron2(write(path, arrays), plan), "channels_last")
    ours = keras.Model(trunk.input, trunk.get_layer("fpn_c5p5").input)
    theirs = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 96, 3))

    def give(convolution: str, normalisation: str, name: str) -> None:
        kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
        theirs.get_layer(convolution).set_weights([kernel, np.zeros(kernel.shape[3], np.float32)])
        parts = [arrays[f"{name}.norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        theirs.get_layer(normalisation).set_weights(parts)

    give("conv1_conv", "conv1_bn", "backbone.bottom_up.stem.conv1")
    for stage, blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            for index, part in enumerate(("shortcut", "conv1", "conv2", "conv3")):
                if index or not block:
                    keras_name = f"conv{stage}_block{block + 1}_{index}"
                    give(f"{keras_name}_conv", f"{keras_name}_bn", f"backbone.bottom_up.res{stage}.{block}.{part}")
    image = np.random.default_rng(3).normal(0, 60, (1, 64, 96, 3)).astype(np.float32)
    (expected,) = run(theirs, settings, image[..., ::-1], outputs=1, batched=False)  # blue, green, red
    (found,) = run(ours, settings, image, outputs=1, batched=False)
    assert found.shape == expected.shape == (1, 2, 3, 2048)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-3 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"backbone": "resnet101"}, 5, r"has no backbone.bottom_up.res4.6.conv1.weight, which a resnet101"),
        ({}, 6, r"mask_head.predictor.weight is|cls_score.weight is \(6, 32\) in .*, and should be \(7, 32\)"),
        ({"anchor_ratios": (1,)}, 5, r"objectness_logits.weight is \(3, 24, 1, 1\)"),
        ({"fpn_channels": 8}, 5, r"fpn_lateral5.weight is \(16, 256, 1, 1\) .* \(8, 256, 1, 1\)"),
    ],
)
def test_the_first_layer_that_differs_is_named(
    path: Path, arrays: dict[str, Any], changes: dict[str, object], classes: int, message: str
) -> None:
    plan = Plan.of(entry_of(layout="detectron2", **changes), classes)  # type: ignore[arg-type]
    with pytest.raises(MaskRcnnError, match=message):
        read_detectron2(write(path, arrays), plan)


def test_other_faults(path: Path, arrays: dict[str, Any]) -> None:
    plan = plan_of(layout="detectron2")
    name = "backbone.fpn_output3.bias"
    for changed, message in (
        (arrays | {"backbone.extra.weight": np.zeros(3, np.float32)}, "has backbone.extra.weight, which a resnet50"),
        (arrays | {name: np.full(16, np.nan, np.float32)}, f"{name} in some.file is not all numbers"),
        (arrays | {name: np.zeros(16, np.int32)}, f"{name} in some.file is not all numbers"),
        (arrays | {name: "text"}, f"has no {name}"),
    ):
        with pytest.raises(MaskRcnnError, match=message):
            read_detectron2(write(path, changed), plan)
    path.write_bytes(pickle.dumps({"model": 3}))
    with pytest.raises(MaskRcnnError, match="holds no weights by name"):
        read_detectron2(path, plan)
