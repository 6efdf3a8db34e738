"""How much work a network is."""

from math import prod
from typing import Any, Final

from worker.engines.quantised import Model

#: products of a weight and a value in a run of a network that takes no longer than what is around it: to decode, draw,
#: store and tell. One core computes so many in 5 ms (bfloat16) to 20 ms (float32 in AVX2); our default model has 3.6e8.
SMALL: Final = 5 * 10**8


def is_small(model: Model) -> bool:
    """Whether a run of an `openvino.Model` is little work. One for any number of inputs may be much."""
    number = products(model)
    return number is not None and number <= SMALL


def products(model: Model) -> int | None:
    """The products of a weight and a value in one run: a FLOP count is twice that. None: the sizes are left open."""
    if model.is_dynamic():
        return None
    return sum(_products(operation) for operation in model.get_ordered_ops())


def _products(operation: Any) -> int:  # noqa: ANN401
    kind = operation.get_type_name()
    if kind not in {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"}:
        return 0
    taken, weights, made = operation.get_input_shape(0), operation.get_input_shape(1), operation.get_output_shape(0)
    if kind == "Convolution":  # weights: outputs, inputs, height, width
        return int(prod(made) * prod(weights[1:]))
    if kind == "GroupConvolution":  # weights: groups, outputs of one, inputs of one, height, width
        return int(prod(made) * prod(weights[2:]))
    if kind == "ConvolutionBackpropData":  # weights: inputs, outputs, height, width
        return int(prod(taken) * prod(weights[1:]))
    return int(prod(made) * taken[-2 if operation.get_attributes()["transpose_a"] else -1])
