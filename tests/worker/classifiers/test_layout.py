"""Transpositions between the layers of a network with the channels last are gone, and it computes the same."""

from collections import Counter
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset16 as opset

from worker.engines.layout import sink_transpositions


def kinds(model: Any) -> Counter[str]:
    return Counter(node.get_type_name() for node in model.get_ops())


def run(model: Any, image: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled([image])[0])


def traced(model: Any) -> Any:
    import keras

    shape = [1, *model.inputs[0].shape[1:]]
    parameter = opset.parameter(shape, np.float32)
    output = model(keras.ops.convert_to_tensor(parameter.output(0)))
    return openvino.Model([opset.result(output.output)], [parameter], "traced")


def everything() -> Any:
    """All that is sunk through, with a different number of rows than columns."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    image = keras.Input((20, 28, 3))
    x = layers.ZeroPadding2D(((1, 2), (3, 4)))(image)
    x = layers.Conv2D(8, 3, strides=2)(x)
    x = layers.BatchNormalization(beta_initializer="ones", moving_mean_initializer="random_normal")(x)
    x = layers.ReLU(6)(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="swish")(x)
    z = layers.SeparableConv2D(8, 3, padding="same", activation="hard_sigmoid")(layers.Cropping2D(((1, 0), (0, 1)))(x))
    z = layers.ZeroPadding2D(((1, 0), (0, 1)))(z)
    w = layers.GlobalAveragePooling2D(keepdims=True)(y)
    w = layers.Conv2D(8, 1, activation="sigmoid")(w)
    x = layers.Concatenate()(
        [layers.Multiply()([y, w]), layers.Add()([x, z]), layers.AveragePooling2D(3, 1, "same")(x)]
    )
    x = layers.MaxPooling2D()(layers.Conv2D(10, 1)(x) * 0.5 + np.arange(10, dtype=np.float32))
    return keras.Model(image, [x])


@pytest.mark.parametrize("flat", [False, True])
def test_only_the_ends_are_transposed(flat: bool) -> None:
    import keras

    model = everything()
    if flat:
        model = keras.Model(model.inputs, keras.layers.Dense(3)(keras.layers.Flatten()(model.outputs[0])))
    graph = traced(model)
    image = np.random.default_rng(0).normal(size=(1, 20, 28, 3)).astype(np.float32)
    expected = run(graph, image)
    before = kinds(graph)["Transpose"]
    sink_transpositions(graph)
    assert before > 20
    # one after the padding of the image at the beginning, one before the end
    assert kinds(graph)["Transpose"] == 2
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(run(graph, image), expected, atol=2e-5)


def test_an_operation_that_is_not_known_keeps_it() -> None:
    parameter = opset.parameter([1, 2, 3, 4], np.float32)
    last = opset.transpose(parameter, [0, 2, 3, 1])
    result = opset.softmax(opset.transpose(opset.relu(last), [0, 3, 2, 1]), 3)
    graph = openvino.Model([opset.result(result)], [parameter], "graph")
    image = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    expected = run(graph, image)
    sink_transpositions(graph)
    assert kinds(graph)["Transpose"] == 1, "two have become one"
    np.testing.assert_allclose(run(graph, image), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["Relu", "PRelu", "ReduceMax", "Concat"])
def test_the_end_has_its_channels_last(name: str) -> None:
    parameter = opset.parameter([1, 2, 3, 4], np.float32)
    last = opset.transpose(parameter, [0, 2, 3, 1])
    node = {
        "Relu": lambda: opset.relu(last),
        "PRelu": lambda: opset.prelu(last, np.asarray([0.5, 0.1, 0.2], np.float32)),
        "ReduceMax": lambda: opset.reduce_max(last, [3], keep_dims=False),
        "Concat": lambda: opset.concat([last, last], -2),
    }[name]()
    graph = openvino.Model([opset.result(node)], [parameter], "graph")
    image = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    expected = run(graph, image)
    sink_transpositions(graph)
    found = run(graph, image)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
