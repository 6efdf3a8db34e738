"""How much work a network is, and with how many threads it is done therefore."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import openvino
import pytest
from openvino import opset16 as opset

from shared.settings import Settings
from worker.engines import Recipe, open_session
from worker.engines.effort import is_small, products

CPUS = 8


def constant(*shape: int) -> Any:
    return opset.constant(np.zeros(shape, np.float32))


def transposed(entry: Any) -> Any:
    return opset.convolution_backprop_data(entry, constant(3, 4, 2, 2), [2, 2], pads_begin=[0, 0], pads_end=[0, 0])


def network(build: Callable[[Any], Any], *shape: int) -> Any:
    entry = opset.parameter(shape, np.float32)
    return openvino.Model([build(entry)], [entry])


@pytest.mark.parametrize(
    ("build", "shape", "expected"),
    [
        # each of 3 x 3 x 4 values is the sum of 2 x 2 x 3 products
        (lambda x: opset.convolution(x, constant(4, 3, 2, 2), [2, 2], [0, 0], [0, 0], [1, 1]), (1, 3, 6, 6), 432),
        # each of 5 x 5 x 6 values is the sum of 2 x 2 products: depthwise
        (
            lambda x: opset.group_convolution(x, constant(6, 1, 1, 2, 2), [1, 1], [0, 0], [0, 0], [1, 1]),
            (1, 6, 6, 6),
            600,
        ),
        # each of 6 x 6 x 3 values goes into 2 x 2 x 4 sums
        (transposed, (1, 3, 6, 6), 1728),
        (lambda x: opset.matmul(x, constant(5, 7), transpose_a=False, transpose_b=False), (2, 5), 70),
        (lambda x: opset.matmul(x, constant(7, 5), transpose_a=True, transpose_b=True), (5, 2), 70),
        (opset.relu, (1, 3, 6, 6), 0),
        (opset.relu, (-1, 3, 6, 6), None),
    ],
    ids=["convolution", "depthwise", "transposed", "product", "product of transposed", "no weights", "any number"],
)
def test_products(build: Callable[[Any], Any], shape: tuple[int, ...], expected: int | None) -> None:
    model = network(build, *shape)
    assert products(model) == expected
    assert is_small(model) is (expected is not None)


@pytest.mark.parametrize(("side", "threads", "expected"), [(8, 0, CPUS - 1), (96, 0, CPUS), (8, 5, 5), (96, 5, 5)])
def test_a_small_network_leaves_a_core_to_the_rest(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, side: int, threads: int, expected: int
) -> None:
    """A convolution of 9 x 3 x 2048 products a pixel: 3.5e6 of them, and 5.1e8."""
    asked = []
    compile_model = openvino.Core.compile_model

    def compile_it(core: Any, model: Any, device: str, options: dict[str, Any]) -> Any:
        asked.append(options["INFERENCE_NUM_THREADS"])  # OpenVINO itself takes no more than this machine has
        return compile_model(core, model, device, options)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CPUS)), raising=False)
    monkeypatch.setattr("worker.engines.threads._quota", lambda _: None)
    monkeypatch.setattr(openvino.Core, "compile_model", compile_it)

    def build() -> Any:
        entry = keras.Input((side, side, 3))
        return keras.Model(entry, keras.layers.Conv2D(2048, 3, padding="same")(entry))

    changes = {"engine": "openvino", "threads": threads, "workers": 1}
    session = open_session(Recipe(f"side {side}", build, outputs=1), settings.model_copy(update=changes))
    assert asked == [expected]
    assert session.run(np.zeros((1, side, side, 3), np.float32))[0].shape == (1, side, side, 2048)
