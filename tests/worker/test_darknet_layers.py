"""Each layer type alone, against OpenCV's Darknet importer, in both layouts."""

from pathlib import Path
from typing import Literal

import pytest

from tests.worker.darknet_files import largest_difference, noise, opencv_heads, tiny_cfg, write_random_weights
from worker.engines import Recipe
from worker.engines.openvino import open_openvino
from worker.models.darknet.cfg import parse_cfg
from worker.models.darknet.network import Layout, build_network
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import read_weights

CONVOLUTION = "[convolutional]\nfilters={filters}\nsize={size}\nstride={stride}\n{rest}\nactivation={activation}\n"


def convolution(
    filters: int = 8, size: int = 3, stride: int = 1, rest: str = "pad=1", activation: str = "leaky"
) -> str:
    return CONVOLUTION.format(filters=filters, size=size, stride=stride, rest=rest, activation=activation)


BODIES = {
    "nothing": "",
    "biased": convolution(),
    "stride_2": convolution(stride=2),
    "stride_2_normalised": convolution(stride=2, rest="pad=1\nbatch_normalize=1"),
    "stride_3_size_5": convolution(size=5, stride=3),
    "even_size": convolution(size=2, stride=2, rest="pad=0"),
    "padding_not_half": convolution(size=3, rest="padding=2"),
    "padding_loses_to_pad": convolution(size=3, rest="padding=2\npad=1"),
    "no_padding": convolution(size=3, rest="pad=0"),
    "groups": convolution(filters=12, rest="pad=1\ngroups=4"),
    "groups_stride_2": convolution(filters=12, stride=2, rest="pad=1\ngroups=2\nbatch_normalize=1"),
    "depthwise": convolution(rest="pad=1\ngroups=8\nbatch_normalize=1"),
    "depthwise_stride_2": convolution(stride=2, size=5, rest="pad=1\ngroups=8"),
    "depthwise_multiplier": convolution(filters=16, rest="pad=1\ngroups=8"),
    "relu": convolution(activation="relu"),
    "mish": convolution(activation="mish"),
    "swish": convolution(activation="swish"),
    "logistic": convolution(activation="logistic"),
    "linear": convolution(activation="linear"),
    "dropout": "[dropout]\nprobability=.5\n",
    "shortcut": "[shortcut]\nfrom=-2\nactivation=linear\n",
    "shortcut_leaky": "[shortcut]\nfrom=-2\nactivation=leaky\n",
    "shortcut_relu": "[shortcut]\nfrom=-2\nactivation=relu\n",
    "shortcut_absolute": convolution() + "[shortcut]\nfrom=0\nactivation=mish\n",
    "route": "[route]\nlayers=-1,-2\n",
    "route_one": convolution(filters=6) + "[route]\nlayers=-3\n",
    "route_absolute": convolution(filters=6) + "[route]\nlayers=-1,0,1\n",
    "route_first_half": "[route]\nlayers=-1\ngroups=2\ngroup_id=0\n",
    "route_second_half": "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n",
    "upsample_2": "[upsample]\nstride=2\n",
    "upsample_3": "[upsample]\nstride=3\n",
    "maxpool_2_2": "[maxpool]\nsize=2\nstride=2\n",
    "maxpool_2_1": "[maxpool]\nsize=2\nstride=1\n",
    "maxpool_3_2": "[maxpool]\nsize=3\nstride=2\n",
    "maxpool_3_1": "[maxpool]\nsize=3\nstride=1\n",
    "maxpool_5_1": "[maxpool]\nsize=5\nstride=1\n",
    "maxpool_13_1": "[maxpool]\nsize=13\nstride=1\n",
    "maxpool_no_padding": "[maxpool]\nsize=2\nstride=2\npadding=0\n",
    "maxpool_little_padding": "[maxpool]\nsize=5\nstride=2\npadding=2\n",
    "maxpool_default_size": "[maxpool]\nstride=2\n",
}


def difference(tmp_path: Path, text: str, layout: Literal["channels_first", "channels_last"]) -> float:
    plan = make_plan(parse_cfg(text))
    (tmp_path / "net.cfg").write_text(text)
    weights = write_random_weights(tmp_path / "net.weights", plan)
    batch = noise(plan)
    recipe = Recipe(layout, lambda: build_network(plan, read_weights(weights, plan), Layout(layout)), outputs=1)
    # not the model itself: where the processor has it, OpenVINO would compute in bfloat16
    ours = open_openvino(recipe, tmp_path / "cache", "f32", threads=1).run(batch)
    return largest_difference(ours, opencv_heads(tmp_path / "net.cfg", weights, plan, batch))


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("size", [(13, 11), (12, 16)], ids=["odd", "even"])
def test_a_layer_gives_what_opencv_gives(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    text = tiny_cfg(BODIES[name], height=size[0], width=size[1])
    assert difference(tmp_path, text, "channels_first") < 1e-5


@pytest.mark.parametrize("name", ["groups_stride_2", "depthwise_multiplier", "route_second_half", "maxpool_3_2"])
def test_the_layout_changes_nothing(tmp_path: Path, name: str) -> None:
    assert difference(tmp_path, tiny_cfg(BODIES[name]), "channels_last") < 1e-5
