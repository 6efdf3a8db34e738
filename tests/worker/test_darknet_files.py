"""The readers of `.cfg` and `.weights` files: what they refuse, and how they say so."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.worker.darknet_files import random_weights, tiny_cfg, write_random_weights
from worker.models.darknet.cfg import Convolutional, MaxPool, Route, Shortcut, Yolo, load_cfg, parse_cfg
from worker.models.darknet.errors import DarknetError
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import count_values, read_weights, write_weights

#: of one anchor and seven classes, on the same 12 channels
ANOTHER_HEAD = "[route]\nlayers=2\n[yolo]\nanchors=1,1\nclasses=7"
PLAN = make_plan(parse_cfg(tiny_cfg("")))


def test_what_a_cfg_says() -> None:
    text = tiny_cfg(
        "[shortcut]\nfrom = -2 # to the first\nactivation=relu\n; a remark\n[route]\nlayers=-1, 0\n[max]\nstride=2"
    )
    config = parse_cfg(text)
    assert (config.net.height, config.net.width) == (13, 11)
    assert config.layers == (
        Convolutional(8, 3, 1, 1, 1, batch_normalize=True, activation="leaky"),
        Convolutional(8, 3, 1, 1, 1, batch_normalize=True, activation="linear"),
        Shortcut(0, "relu"),
        Route((2, 0), 1, 0),
        MaxPool(2, 2, 1),
        Convolutional(12, 1, 1, 0, 1, batch_normalize=False, activation="linear"),
        Yolo(((10.0, 14.0), (23.0, 27.0)), 1, 1.0),
    )


def test_the_mask_selects_anchors() -> None:
    text = tiny_cfg("").replace("mask=0,1", "mask=1,0").replace("num=2", "num=2\nscale_x_y=1.05")
    assert parse_cfg(text).layers[-1] == Yolo(((23.0, 27.0), (10.0, 14.0)), 1, 1.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"does not begin with a \[net\]"),
        ("[convolutional]\nfilters=1", r"does not begin with a \[net\]"),
        ("width=3", "line 1: an option stands before the first section"),
        ("[net\n", "line 1: a section heading has no closing bracket"),
        ("[net]\nwidth=4\nheight=4", "no detector"),
        ("[net]\nwidth=4", r"line 1, \[net\]: 'height' is missing"),
        ("[net]\nwidth=4\nheight=tall", r"line 3, \[net\]: height='tall' should be a whole number"),
        (
            "[net]\nwidth=4\nheight=9999999",
            r"line 3, \[net\]: height='9999999' should be a whole number from 1 to 8192",
        ),
        ("[net]\nwidth=4\nwidth=5\nheight=4", r"line 3, \[net\]: 'width' is there twice"),
        ("[net]\nwidth 4", r"line 2, \[net\]: 'width4' is not of the form key=value"),
        ("[net]\nwidth=4\nheight=4\nchannels=1\n", r"line 4, \[net\]: channels='1'"),
        (tiny_cfg("[lstm]\noutput=3"), r"line 20, \[lstm\] \(layer 2\): layers of this type are not supported"),
        (tiny_cfg("[convolutional]\nactivation=gelu"), r"line 21, \[convolutional\] \(layer 2\): activation='gelu'"),
        (tiny_cfg("[convolutional]\nfilters=1000000000"), r"filters='1000000000' should be a whole number"),
        (tiny_cfg("[convolutional]\ndilation=2"), "dilation=2 is not supported"),
        (tiny_cfg("[convolutional]\nstride=2\nstride_x=1"), "stride_x=1 is not supported"),
        (tiny_cfg("[shortcut]\nfrom=5"), r"\[shortcut\] \(layer 2\): refers to layer 5, which is not before it"),
        (tiny_cfg("[shortcut]\nfrom=-3"), "refers to layer -1"),
        (tiny_cfg("[shortcut]\nfrom=-1,-2"), "from several layers"),
        (tiny_cfg("[shortcut]\nfrom=-2\nweights_type=per_feature"), "weights_type=per_feature is not supported"),
        (tiny_cfg("[route]\nlayers=2"), "refers to layer 2, which is not before it"),
        (tiny_cfg("[route]\nlayers="), "layers='' should be whole numbers"),
        (tiny_cfg("[route]\nlayers=-1\ngroups=2\ngroup_id=2"), "group_id='2'"),
        (tiny_cfg("[upsample]\nstride=2\nscale=0.5"), "scale=0.5 is not supported"),
        (tiny_cfg("[dropout]\ndropblock=1"), "dropblock=1 is not supported"),
        (tiny_cfg("").replace("num=2", "num=3"), r"\[yolo\] \(layer 3\): anchors should be 6 numbers"),
        (tiny_cfg("").replace("10,14", "nan,14"), "anchors='nan,14,23,27' should be numbers"),
        (tiny_cfg("").replace("mask=0,1", "mask=0,2"), "mask selects an anchor that is not there"),
        (tiny_cfg("") + "new_coords=1", "new_coords=1 is not supported"),
    ],
)
def test_a_bad_cfg_is_refused(text: str, message: str) -> None:
    with pytest.raises(DarknetError, match=message):
        parse_cfg(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            tiny_cfg("[convolutional]\nfilters=7\nsize=1\n[shortcut]\nfrom=-2"),
            r"layer 3 \[shortcut\] adds 13x11x8 \(layer 1\) to 13x11x7",
        ),
        (tiny_cfg("[maxpool]\nstride=2\n[route]\nlayers=-1,0"), r"layer 3 \[route\] joins layers of different sizes"),
        (tiny_cfg("[route]\nlayers=0\ngroups=3"), "do not divide into 3 groups"),
        (tiny_cfg("[convolutional]\nfilters=9\ngroups=3"), r"layer 2 \[convolutional\]: 8 channels and 9 filters"),
        (tiny_cfg("").replace("filters=12", "filters=13"), r"layer 3 \[yolo\] wants 12 channels .* has 13"),
        (
            tiny_cfg("[convolutional]\nsize=12\nfilters=8"),
            r"layer 2 \[convolutional\] leaves no pixel of its input of 13x11x8",
        ),
        (tiny_cfg("[upsample]\nstride=64\n[upsample]\nstride=64"), r"layer 3 \[upsample\] .* too large"),
        (tiny_cfg("") + "[route]\nlayers=-1\n[yolo]\nanchors=1,1", r"layer 4 \[route\] takes the output of a \[yolo\]"),
        (tiny_cfg("") + ANOTHER_HEAD, "differ in their number of classes"),
    ],
)
def test_layers_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(DarknetError, match=message):
        make_plan(parse_cfg(text))


def test_another_image_size() -> None:
    plan = make_plan(parse_cfg(tiny_cfg("[maxpool]\nstride=2")), (32, 64))
    assert str(plan.heads[0][1]) == "16x32x12"


def test_a_cfg_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_bytes(b"[net]\n\xff\xfe")
    with pytest.raises(DarknetError, match="not a text file"):
        load_cfg(tmp_path / "a.cfg")
    (tmp_path / "b.cfg").write_bytes(b"#" * (1 << 20) + b"#")
    with pytest.raises(DarknetError, match="longer than"):
        load_cfg(tmp_path / "b.cfg")


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0)])
def test_what_is_written_is_read(tmp_path: Path, version: tuple[int, int, int]) -> None:
    written = list(random_weights(PLAN))
    write_weights(tmp_path / "a.weights", written, version=version, seen=123)
    header = 16 if version == (0, 1, 0) else 20
    assert (tmp_path / "a.weights").stat().st_size == header + 4 * sum(map(count_values, PLAN.layers))
    found = read_weights(tmp_path / "a.weights", PLAN)
    assert list(found) == [0, 1, 2]
    for before, after in zip(written, found.values(), strict=True):
        np.testing.assert_array_equal(before.kernels, after.kernels)
        np.testing.assert_array_equal(before.bias, after.bias)
        assert (before.normalisation is None) == (after.normalisation is None)
        if before.normalisation and after.normalisation:
            np.testing.assert_array_equal(before.normalisation.scale, after.normalisation.scale)
            np.testing.assert_array_equal(before.normalisation.mean, after.normalisation.mean)
            np.testing.assert_array_equal(before.normalisation.variance, after.normalisation.variance)


def test_the_order_of_the_values(tmp_path: Path) -> None:
    """By hand: header, biases, scales, means, variances, kernels by filter, channel, row, column."""
    numbers = np.arange(sum(map(count_values, PLAN.layers)), dtype="<f4")
    head = np.asarray([0, 2, 0, 7, 0], "<i4").tobytes()
    (tmp_path / "a.weights").write_bytes(head + numbers.tobytes())
    first = read_weights(tmp_path / "a.weights", PLAN)[0]
    assert first.normalisation is not None
    assert first.bias.tolist() == list(range(8))
    assert first.normalisation.scale.tolist() == list(range(8, 16))
    assert first.normalisation.mean.tolist() == list(range(16, 24))
    assert first.normalisation.variance.tolist() == list(range(24, 32))
    assert first.kernels[2, 1, 0, 2] == 32 + ((2 * 3 + 1) * 3 + 0) * 3 + 2


def damaged(tmp_path: Path, size: int) -> Path:
    """A good file, cut or lengthened by `size` bytes."""
    path = write_random_weights(tmp_path / "a.weights", PLAN)
    data = path.read_bytes()
    path.write_bytes(data + bytes(size) if size > 0 else data[:size])
    return path


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, r"layer 2 \[convolutional\] takes 108 values and 107 are left"),
        (-4, r"layer 2 \[convolutional\] takes 108 values and 107 are left"),
        (-500, r"layer 1 \[convolutional\] takes 608 values"),
        (1, r"go on for 1 bytes after layer 2 \[convolutional\]"),
        (400, r"go on for 400 bytes after layer 2 \[convolutional\]"),
    ],
)
def test_a_short_or_long_file_is_refused(tmp_path: Path, size: int, message: str) -> None:
    with pytest.raises(DarknetError, match=message):
        read_weights(damaged(tmp_path, size), PLAN)


@pytest.mark.parametrize("content", [b"", b"\0" * 11, b"\0" * 13])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(DarknetError, match="within the header"):
        read_weights(tmp_path / "a.weights", PLAN)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.weights").write_bytes(b"<!DOCTYPE html><html>" * 1000)
    with pytest.raises(DarknetError, match="no Darknet weights file"):
        read_weights(tmp_path / "a.weights", PLAN)


def test_weights_of_another_network_with_as_many_values_are_refused(tmp_path: Path) -> None:
    other = make_plan(parse_cfg(tiny_cfg("").replace("filters=8\nsize=3", "filters=9\nsize=3", 1)))
    data = write_random_weights(tmp_path / "a.weights", other).read_bytes()
    wanted = 20 + 4 * sum(map(count_values, PLAN.layers))
    (tmp_path / "a.weights").write_bytes(data[:wanted])
    with pytest.raises(DarknetError, match=r"layer 0 \[convolutional\] have negative variances|layer 1 .* negative"):
        read_weights(tmp_path / "a.weights", PLAN)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "a.weights", PLAN)
    data = bytearray(path.read_bytes())
    data[-4:] = np.asarray([np.nan], "<f4").tobytes()
    path.write_bytes(data)
    with pytest.raises(DarknetError, match=r"layer 2 \[convolutional\] are not all numbers"):
        read_weights(path, PLAN)


def read_or_refuse(text: str) -> Plan | None:
    try:
        return make_plan(parse_cfg(text))
    except DarknetError:
        return None


@hypothesis_settings(max_examples=300, deadline=1000)
@given(st.text(max_size=400))
@example("[net]\nwidth=1\nheight=1\n[yolo]\nanchors=" + "1," * 5000)
@example("[net]\nwidth=" + "9" * 5000)
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refuse(text)


LINES = [
    line for line in tiny_cfg("[maxpool]\n[route]\nlayers=-1\n[upsample]\n[shortcut]\nfrom=-2").splitlines() if line
]
VALUES = st.one_of(st.integers(-(10**12), 10**12).map(str), st.floats().map(str), st.text(max_size=5))


@hypothesis_settings(max_examples=400, deadline=1000)
@given(st.data())
def test_a_cfg_with_other_values_is_read_or_refused(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        key = lines[index].partition("=")[0]
        lines[index] = data.draw(st.one_of(VALUES.map((key + "={}").format), st.sampled_from(LINES)))
    read_or_refuse("\n".join(lines))


@hypothesis_settings(max_examples=200, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 4000))
def test_any_bytes_are_refused(tmp_path: Path, data: bytes, position: int) -> None:
    path = tmp_path / "a.weights"
    path.write_bytes(data)
    with pytest.raises(DarknetError):
        read_weights(path, PLAN)
    good = write_random_weights(path, PLAN).read_bytes()
    changed = good[:position] + data
    path.write_bytes(changed)
    if len(changed) != len(good):
        with pytest.raises(DarknetError):
            read_weights(path, PLAN)
