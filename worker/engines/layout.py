"""Channels first within a traced network, whatever its Keras model has.

OpenVINO computes with the channels first. A Keras model with the channels last, as most are and some must be, comes
from Keras' OpenVINO backend with a transposition before and one after each convolution, which OpenVINO 2026.4 neither
removes nor fuses across: MobileNetV2 then takes two to four times as long. Here the transpositions that follow a layer
sink through everything that may as well come before them, until they meet those that precede the next layer, and both
go.
"""

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from openvino import opset16 as opset
from openvino.passes import ConstantFolding, Manager

#: an `openvino.Model`, `openvino.Node` and `openvino.Output`; OpenVINO comes without types
Model: TypeAlias = Any
Node: TypeAlias = Any
Output: TypeAlias = Any

#: of a transposition: from channels first to channels last, and back
TO_LAST: Final = (0, 2, 3, 1)
TO_FIRST: Final = (0, 3, 1, 2)
#: rows for columns, with the channels first: what remains before Keras' batch norm, and makes no difference to it
SWAPPED: Final = (0, 1, 3, 2)

#: operations on each value by itself, with the values as their first input and no other that has images
_UNARY: Final = frozenset(
    [
        "Abs",
        "Clamp",
        "Convert",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HSigmoid",
        "HSwish",
        "Log",
        "Mish",
        "Negative",
        "Relu",
        "Selu",
        "Sigmoid",
        "SoftPlus",
        "SoftSign",
        "Sqrt",
        "Swish",
        "Tanh",
    ]
)
#: operations on the values of two arrays in the same place
_BINARY: Final = frozenset(
    ["Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "PRelu", "SquaredDifference", "Subtract"]
)
_REDUCTIONS: Final = frozenset(["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"])


def sink_transpositions(model: Model) -> None:
    """Remove the transpositions between channels first and channels last that cancel each other.

    The model is changed in place and computes the same. An operation that is not known here keeps the transposition
    in front of it.

    Args:
        model: an `openvino.Model`, as traced from Keras: batch norms are not folded yet.
    """
    folding = Manager()
    folding.register_pass(ConstantFolding())  # Keras writes even a zero as a broadcast one
    folding.run_passes(model)
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind == "Transpose":
            _merge(node)
        elif kind == "BatchNormInference":
            _sink_normalisation(node)
        elif kind in _UNARY and _first(node.input_value(0)) is not None:
            node.input(0).replace_source_output(_first(node.input_value(0)))
            _append_transposition(node)
        elif kind in _BINARY:
            _sink_binary(node)
        elif kind == "Concat":
            _sink_concat(node)
        elif kind == "Pad":
            _sink_pad(node)
        elif kind == "Slice":
            _sink_slice(node)
        elif kind in _REDUCTIONS:
            _sink_reduction(node)
    model.validate_nodes_and_infer_types()


def _order(node: Node) -> tuple[int, ...] | None:
    order = _constant(node.input_value(1))
    return None if order is None else tuple(int(axis) for axis in order)


def _constant(value: Output) -> NDArray[Any] | None:
    node = value.get_node()
    return node.data if node.get_type_name() == "Constant" else None


def _first(value: Output, order: tuple[int, ...] = TO_LAST) -> Output | None:
    """What `value` is a transposition of, if it is one to channels last (or of another order)."""
    node = value.get_node()
    return node.input_value(0) if node.get_type_name() == "Transpose" and _order(node) == order else None


def _append_transposition(node: Node, order: tuple[int, ...] = TO_LAST, instead_of: Node | None = None) -> None:
    """Whoever used `node` (or what it stands for) gets it transposed."""
    node.validate_and_infer_types()
    _replace(instead_of or node, opset.transpose(node, np.asarray(order, np.int64)).output(0))


def _replace(node: Node, new: Output) -> None:
    """Whoever used `node`, but for `new` itself, gets `new`."""
    for user in node.output(0).get_target_inputs():
        if user.get_node().get_instance_id() != new.get_node().get_instance_id():
            user.replace_source_output(new)


def _merge(node: Node) -> None:
    """Make one transposition of two, or none."""
    before = node.input_value(0).get_node()
    outer = _order(node)
    inner = _order(before) if before.get_type_name() == "Transpose" else None
    if outer is None or inner is None:
        return
    order = tuple(inner[axis] for axis in outer)
    if order == tuple(range(len(order))):
        _replace(node, before.input_value(0))
    else:
        node.input(0).replace_source_output(before.input_value(0))
        node.input(1).replace_source_output(opset.constant(np.asarray(order, np.int64)).output(0))
        node.validate_and_infer_types()


def _sink_normalisation(node: Node) -> None:
    swapped = _first(node.input_value(0), SWAPPED)
    if swapped is not None:
        node.input(0).replace_source_output(swapped)
        _append_transposition(node, SWAPPED)


def _sink_binary(node: Node) -> None:
    values = node.input_values()
    firsts = [_first(value) for value in values]
    if all(first is None for first in firsts):
        return
    for index, value in enumerate(values):
        if firsts[index] is None:
            # PRelu's slopes belong to the channels by themselves, so their shape says nothing of places
            if node.get_type_name() == "PRelu" or _constant(value) is None:
                return
            array = np.asarray(_constant(value))
            array = array.reshape((1,) * (4 - array.ndim) + array.shape)
            firsts[index] = opset.constant(np.ascontiguousarray(array.transpose(TO_FIRST))).output(0)
    for index, first in enumerate(firsts):
        node.input(index).replace_source_output(first)
    _append_transposition(node)


def _sink_concat(node: Node) -> None:
    firsts = [_first(value) for value in node.input_values()]
    if any(first is None for first in firsts):
        return
    axis = TO_LAST[node.get_axis() % 4]
    _append_transposition(opset.concat(firsts, axis), instead_of=node)


def _sink_pad(node: Node) -> None:
    first = _first(node.input_value(0))
    begin, end = (_constant(node.input_value(index)) for index in (1, 2))
    if first is None or begin is None or end is None:
        return
    node.input(0).replace_source_output(first)
    for index, pads in ((1, begin), (2, end)):
        moved = np.asarray(pads, np.int64)[list(TO_FIRST)]
        node.input(index).replace_source_output(opset.constant(moved).output(0))
    _append_transposition(node)


def _sink_slice(node: Node) -> None:
    first = _first(node.input_value(0))
    axes = _constant(node.input_value(4)) if node.get_input_size() == 5 else None
    if first is None or axes is None:
        return
    node.input(0).replace_source_output(first)
    moved = np.asarray([TO_LAST[int(axis) % 4] for axis in axes], np.int64)
    node.input(4).replace_source_output(opset.constant(moved).output(0))
    _append_transposition(node)


def _sink_reduction(node: Node) -> None:
    first, axes = _first(node.input_value(0)), _constant(node.input_value(1))
    if first is None or axes is None:
        return
    keep = bool(node.get_attributes()["keep_dims"])
    wanted = sorted(int(axis) % 4 for axis in np.ravel(axes))
    # with fewer axes left there is an order to keep only where the places go, and it is kept then
    if not keep and wanted not in ([1, 2], [1, 2, 3]):
        return
    node.input(0).replace_source_output(first)
    moved = np.asarray(sorted(TO_LAST[axis] for axis in wanted), np.int64)
    node.input(1).replace_source_output(opset.constant(moved).output(0))
    if keep:
        _append_transposition(node)
    else:
        node.validate_and_infer_types()
