from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from shared.entries import MaskRcnnEntry
from tests.worker.mask_rcnn.files import entry_of, plan_of, random_weights, write_keras2
from worker.models.mask_rcnn.errors import MaskRcnnError
from worker.models.mask_rcnn.heads import build_box_head, build_mask_head
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.trunk import build_trunk, get_weights
from worker.models.mask_rcnn.weights_matterport import read_matterport, write_matterport


def assert_same(found: Any, expected: Any, *, tolerance: float = 0.0) -> None:
    assert list(found) == list(expected)
    for layer, weights in expected.items():
        assert found[layer].keys() == weights.keys()
        for weight, values in weights.items():
            assert found[layer][weight].dtype == np.float32
            np.testing.assert_allclose(found[layer][weight], values, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("root", ["/", "model_weights"])
@pytest.mark.parametrize("suffix", ["", "_1"])
def test_files_of_keras2(path: Path, root: str, suffix: str) -> None:
    """Weights alone or a whole model; Keras numbers the layers of a second model of one process."""
    plan = plan_of()
    weights = random_weights(plan)
    if suffix:  # the region proposal network's layers keep their names, as they are found by them
        write_keras2(path, {**weights})
        with h5py.File(path, "a") as file:
            for layer in ("conv1", "bn_conv1", "mrcnn_mask"):
                file.move(f"{layer}/{layer}", f"{layer}/{layer}{suffix}")
    else:
        write_keras2(path, weights, root=root)
    assert_same(read_matterport(path, plan), weights)


@pytest.mark.parametrize("half", [False, True])
def test_round_trip(path: Path, half: bool) -> None:
    plan = plan_of(backbone="resnet18", anchor_ratios=(0.5, 2))
    weights = random_weights(plan)
    write_matterport(path, weights, half=half)
    assert_same(read_matterport(path, plan), weights, tolerance=1e-3 if half else 0.0)
    values = sum(array.size for layer in weights.values() for array in layer.values())
    assert path.stat().st_size < (2 if half else 4) * values + 250_000, "the numbers, and HDF5's own tables"


def test_the_layers_of_the_published_file() -> None:
    """`mask_rcnn_coco.h5`: ResNet-101, 81 classes; shapes and number of values as Keras' summary of it prints them."""
    plain = {"name": "a", "title": "A", "weights": {"name": "a.h5"}, "classes": {"name": "a.names"}}
    layers = Plan.of(MaskRcnnEntry.model_validate(plain), 80).layers()
    assert layers["conv1"] == {"kernel": (7, 7, 3, 64), "bias": (64,)}
    assert layers["res2a_branch1"]["kernel"] == (1, 1, 64, 256)
    assert layers["bn4w_branch2c"]["moving_variance"] == (1024,)
    assert layers["res5c_branch2b"]["kernel"] == (3, 3, 512, 512)
    assert layers["fpn_c5p5"]["kernel"] == (1, 1, 2048, 256)
    assert layers["fpn_p2"]["kernel"] == (3, 3, 256, 256)
    assert layers["rpn_conv_shared"]["kernel"] == (3, 3, 256, 512)
    assert layers["rpn_class_raw"]["kernel"] == (1, 1, 512, 6)
    assert layers["rpn_bbox_pred"]["kernel"] == (1, 1, 512, 12)
    assert layers["mrcnn_class_conv1"]["kernel"] == (7, 7, 256, 1024)
    assert layers["mrcnn_class_logits"] == {"kernel": (1024, 81), "bias": (81,)}
    assert layers["mrcnn_bbox_fc"] == {"kernel": (1024, 324), "bias": (324,)}
    assert layers["mrcnn_mask_deconv"]["kernel"] == (2, 2, 256, 256)
    assert layers["mrcnn_mask"] == {"kernel": (1, 1, 256, 81), "bias": (81,)}
    assert "res4x_branch2a" not in layers
    values = sum(int(np.prod(shape)) for shapes in layers.values() for shape in shapes.values())
    assert values == 64_158_584
    assert 0 < 257_557_808 - 4 * values < 1_500_000, "the file has these and HDF5's own tables"


def delete(name: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]

    return change


def replace(name: str, values: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = values

    return change


def outside(file: Any) -> None:
    del file["conv1/conv1/kernel:0"]
    file["conv1/conv1/kernel:0"] = h5py.ExternalLink("/etc/hostname", "/x")


def external(file: Any) -> None:
    del file["conv1/conv1/bias:0"]
    file["conv1"].create_dataset("conv1/bias:0", (8,), "<f4", external=[("/etc/passwd", 0, 32)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (delete("bn_conv1"), "has no layer bn_conv1, which a resnet50"),
        (delete("rpn_model/rpn_class_raw"), "has no layer rpn_class_raw"),
        (delete("conv1/conv1/bias:0"), "layer conv1 has no bias"),
        (replace("res2a_branch1/res2a_branch1/kernel:0", np.zeros((1, 1, 8, 9), "f4")), "is 1x1x8x9 in .*be 1x1x8x32"),
        (replace("bn_conv1/bn_conv1/gamma:0", np.zeros(8, "i4")), "gamma of layer bn_conv1 .* not an array of numbers"),
        (replace("bn_conv1/bn_conv1/gamma:0", np.full(8, np.nan, "f4")), "layer bn_conv1 .* are not all numbers"),
        (replace("res9z/res9z/kernel:0", np.zeros(3, "f4")), "has a layer res9z, which a resnet50"),
        (replace("conv1/conv1/depth:0", np.zeros(3, "f4")), "layer conv1 has a depth"),
        (outside, "is a link"),
        (external, "bias of layer conv1 .* not an array of numbers"),
        (replace("layers/conv1/vars/0", np.zeros(3, "f4")), "saved by Keras 3"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(path: Path, change: Callable[[Any], None], message: str) -> None:
    plan = plan_of()
    write_keras2(path, random_weights(plan))
    with h5py.File(path, "a") as file:
        for name in ("res9z", "layers"):
            file.require_group(name)
        file["conv1/conv1"].require_group("x")
        file["res9z"].create_group("res9z").create_dataset("kernel:0", data=np.zeros(1))
        file["conv1/conv1"].create_dataset("depth:0", data=np.zeros(1))
        file["layers"].create_group("conv1/vars").create_dataset("0", data=np.zeros(1))
        change(file)
        for name in ("res9z", "layers"):
            if f"layer {name}" not in message and not (name == "layers" and "Keras 3" in message):
                del file[name]
        if "depth" not in message:
            del file["conv1/conv1/depth:0"]
    with pytest.raises(MaskRcnnError, match=message):
        read_matterport(path, plan)


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"backbone": "resnet101"}, 5, "has no layer res4g_branch2a, which a resnet101"),
        ({"backbone": "resnet18"}, 5, "kernel of layer res2a_branch2a is 1x1x8x8 .* should be 3x3x8x8"),
        ({"anchor_ratios": (0.5, 1)}, 5, "kernel of layer rpn_class_raw is 1x1x24x6 .* should be 1x1x24x4"),
        ({}, 4, "kernel of layer mrcnn_class_logits is 32x6 .* should be 32x5"),
        ({"fpn_channels": 32}, 5, "kernel of layer fpn_c5p5"),
        ({"layout": "detectron2"}, 5, "has a layer mrcnn_class_bn1"),
    ],
)
def test_the_first_layer_that_differs_is_named(
    path: Path, changes: dict[str, object], classes: int, message: str
) -> None:
    write_keras2(path, random_weights(plan_of()))
    with pytest.raises(MaskRcnnError, match=message):
        read_matterport(path, Plan.of(entry_of(**changes), classes))  # type: ignore[arg-type]


def test_a_deeper_networks_file(path: Path) -> None:
    write_keras2(path, random_weights(plan_of(backbone="resnet101")))
    with pytest.raises(
        MaskRcnnError, match=r"has a layer (bn|res)4g_branch2a, which a resnet50 with these settings has not"
    ):
        read_matterport(path, plan_of())


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_no_such_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(MaskRcnnError, match=r"some\.file is not an HDF5 file"):
        read_matterport(path, plan_of())
    with pytest.raises(FileNotFoundError):
        read_matterport(path.with_name("other"), plan_of())


def test_a_file_that_was_cut_off(path: Path) -> None:
    write_keras2(path, random_weights(plan_of()))
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(MaskRcnnError, match="some"):
            read_matterport(path, plan_of())


@pytest.mark.parametrize("changes", [{}, {"backbone": "resnet18", "fpn_channels": 8}, {"layout": "detectron2"}])
def test_networks_take_weights_and_give_them_back(path: Path, changes: dict[str, object]) -> None:
    """What training saves is what it trained."""
    plan = plan_of(**changes)
    weights = random_weights(plan)
    networks = build_trunk(plan, (None, None), weights), build_box_head(plan, weights), build_mask_head(plan, weights)
    found = get_weights(plan, *networks)
    assert_same(found, weights)
    write_matterport(path, found)
    assert_same(read_matterport(path, plan), weights)


def test_the_anchors_of_later_ports_do_not_matter(path: Path) -> None:
    weights = random_weights(plan_of())
    write_keras2(path, weights)
    with h5py.File(path, "a") as file:
        file["anchors/anchors/Variable:0"] = np.zeros((1, 4092, 4), "f4")
    assert_same(read_matterport(path, plan_of()), weights)
