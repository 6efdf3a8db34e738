"""Weights in the `.h5` files of Keras 2, with Matterport's layer names: read and written.

The format (`Model.save_weights` and `Model.save` of Keras 2): a group for each layer of the model, below `/` or
`/model_weights`, and in it datasets `<layer>/<weight>:0`, for instance `/conv1/conv1/kernel:0`. The region proposal
network is a model within the model, so its layers are all in the group `rpn_model`. Kernels are (height, width, in,
out), of transposed convolutions (height, width, out, in).
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.errors import MaskRcnnError
from worker.models.mask_rcnn.plan import LayerWeights, Plan, Weights

#: an `h5py.Group` or `h5py.File`; h5py comes without types
Group: TypeAlias = Any

RPN: Final = "rpn_model"
RPN_LAYERS: Final = frozenset({"rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"})
#: ports to TensorFlow 2 store the anchors as a weight; they are computed here
IGNORED: Final = frozenset({"anchors", "anchors_layer"})
#: more than any network of this family has
MAX_DATASETS: Final = 5000
MAX_DEPTH: Final = 6


def read_matterport(path: Path, plan: Plan) -> LayerWeights:
    """Read the weights of a network.

    Args:
        path: an `.h5` file. It is data only: nothing in it is run, and it cannot name other files.
        plan: the network it belongs to.

    Returns:
        Of each layer its weights by name, float32, in the file's shapes, which are those of `plan.layers`.

    Raises:
        MaskRcnnError: it is no such file, or of another network; the message names the first layer that differs.
        OSError: it cannot be read.
    """
    with _layers_of(path) as there:
        _compare(there, plan, path.name)
        return {layer: _values(layer, there[layer], path.name) for layer in plan.layers()}


def read_layers(path: Path) -> LayerWeights:
    """All layers that a file has, of whatever network: for training, which takes of it what fits.

    Raises:
        MaskRcnnError: it is no such file.
        OSError: it cannot be read.
    """
    with _layers_of(path) as there:
        return {layer: _values(layer, weights, path.name) for layer, weights in there.items()}


@contextlib.contextmanager
def _layers_of(path: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """The datasets of each layer by name, while the file is open."""
    with path.open("rb") as stream:  # h5py says little of a file that is not there
        try:
            with h5py.File(stream, "r") as file:
                yield _open(file, path.name)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            if isinstance(error, MaskRcnnError):
                raise
            raise MaskRcnnError(f"{path.name} is not an HDF5 file with weights, or is broken ({error})") from error


def _open(file: Group, name: str) -> dict[str, dict[str, Any]]:
    root = file
    if _is_group(file, "model_weights"):
        root = file["model_weights"]
    elif _is_group(file, "layers"):
        raise MaskRcnnError(f"{name} was saved by Keras 3; weights in the layout of Keras 2 are wanted")
    there: dict[str, dict[str, Any]] = {}
    for layer, weight, dataset in _datasets(root):
        if weight in there.setdefault(layer, {}):
            raise MaskRcnnError(f"{name} has two weights {weight} of layer {layer}")
        if dataset.dtype.kind != "f" or dataset.external or dataset.is_virtual:
            raise MaskRcnnError(f"the {weight} of layer {layer} in {name} is not an array of numbers")
        there[layer][weight] = dataset
    return there


def _compare(there: Mapping[str, Mapping[str, Any]], plan: Plan, name: str) -> None:
    wanted = plan.layers()
    for layer, shapes in wanted.items():
        if layer not in there:
            raise MaskRcnnError(f"{name} has no layer {layer}, which a {plan.backbone} with these settings has")
        for weight, shape in shapes.items():
            if weight not in there[layer]:
                raise MaskRcnnError(f"layer {layer} has no {weight} in {name}")
            found = there[layer][weight]
            if found.shape != shape:
                raise MaskRcnnError(
                    f"the {weight} of layer {layer} is {_times(found.shape)} in {name}, and should be {_times(shape)}"
                )
        if extra := sorted(there[layer].keys() - shapes.keys()):
            raise MaskRcnnError(f"layer {layer} has a {extra[0]} in {name}, and should have none")
    for layer in there:
        if layer not in wanted:
            raise MaskRcnnError(f"{name} has a layer {layer}, which a {plan.backbone} with these settings has not")


def _values(layer: str, datasets: Mapping[str, Any], name: str) -> dict[str, NDArray[np.float32]]:
    found = {weight: np.asarray(dataset[...], np.float32) for weight, dataset in datasets.items()}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise MaskRcnnError(f"the weights of layer {layer} in {name} are not all numbers")
    return found


def _is_group(group: Group, name: str) -> bool:
    # asked for the link first: a link to another file would be followed
    return isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group)


def _datasets(root: Group) -> Iterator[tuple[str, str, Any]]:
    """Layer, weight and dataset of all that are in the file itself."""
    count = 0
    for top in root:
        if top in IGNORED or top == "optimizer_weights" or not _is_group(root, top):
            continue
        waiting = [(root[top], 0)]
        while waiting:
            group, depth = waiting.pop()
            for child in group:
                count += 1
                if count > MAX_DATASETS or depth > MAX_DEPTH:
                    raise MaskRcnnError("the file has more in it than the weights of a Mask R-CNN")
                if not isinstance(group.get(child, getlink=True), h5py.HardLink):
                    raise MaskRcnnError(f"{group.name}/{child} is a link, not an array")
                found = group[child]
                if isinstance(found, h5py.Group):
                    waiting.append((found, depth + 1))
                elif isinstance(found, h5py.Dataset):
                    # the group's name is the layer's; within it Keras may have numbered it ("bn_conv1_1")
                    layer = group.name.rsplit("/", 1)[-1] if top == RPN else top
                    yield layer, child.removesuffix(":0"), found


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def write_matterport(path: Path, weights: Weights, *, half: bool = False) -> None:
    """Write weights so that `read_matterport` and Matterport's own code load them.

    Args:
        path: where to; overwritten.
        weights: of all layers, in the network's order and the shapes of `Plan.layers`.
        half: store float16, for half the size.
    """
    names = [name for name in weights if name not in RPN_LAYERS]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in [*names, RPN]]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.1.0"
        groups = {RPN: [name for name in weights if name in RPN_LAYERS], **{name: [name] for name in names}}
        for top, members in groups.items():
            group = file.create_group(top)
            paths = {f"{name}/{weight}:0": values for name in members for weight, values in weights[name].items()}
            group.attrs["weight_names"] = [each.encode() for each in paths]
            for each, values in paths.items():
                group.create_dataset(each, data=values.astype("<f2" if half else "<f4"))
