"""MobileNetV2's weights with the batch norms folded into the convolutions, in a `.npz` file.

The file has a kernel and a bias for each convolution, as `<name>/kernel` and `<name>/bias`: `Conv1`,
`expanded_conv_depthwise`, `expanded_conv_project`, `block_1_expand` ... `block_16_project`, each named as in Keras;
then `MobileNetV2/Conv2d_18_1/Conv2D` and, as a 1x1 convolution, `MobileNetV2/top/Conv2d_1x1_output/Conv2D`. Kernels are
(rows, columns, in, out), of depthwise convolutions (rows, columns, channels, 1). Networks of TensorFlow's own training
have one class more, the background, as their first; where the file has one more than there are labels, it is left out.
"""

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.engines import KerasModel
from worker.models.classifiers.errors import ClassifierError

Array = NDArray[np.float32]

_LAST: Final = "MobileNetV2/Conv2d_18_1/Conv2D"
_TOP: Final = "MobileNetV2/top/Conv2d_1x1_output/Conv2D"


def set_folded_weights(model: KerasModel, path: Path) -> None:
    """Give a MobileNetV2 the weights of a file; its batch norms then do nothing but add the bias.

    Args:
        model: `keras.applications.MobileNetV2`, with its top.
        path: the `.npz` file.

    Raises:
        ClassifierError: it is no such file, or of another network: the first layer that differs is named.
        OSError: it cannot be read.
    """
    arrays = _read(path)
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in {"Conv2D", "DepthwiseConv2D"}:
            source = _LAST if layer.name == "Conv_1" else layer.name
            layer.set_weights([_take(arrays, path, f"{source}/kernel", tuple(layer.get_weights()[0].shape))])
        elif kind == "BatchNormalization":
            channels = int(layer.gamma.shape[0])
            bias = _take(arrays, path, f"{_convolution_of(layer.name)}/bias", (channels,))
            ones = np.ones(channels, np.float32)
            # with this variance the root of variance and epsilon is 1
            layer.set_weights([ones, bias, np.zeros_like(ones), ones - np.float32(layer.epsilon)])
    top = model.get_layer("predictions")
    features, classes = top.get_weights()[0].shape
    found = arrays.get(f"{_TOP}/bias", np.empty(0)).shape[0]
    first = 1 if found == classes + 1 else 0
    kernel = _take(arrays, path, f"{_TOP}/kernel", (1, 1, features, classes + first))
    bias = _take(arrays, path, f"{_TOP}/bias", (classes + first,))
    top.set_weights([kernel[0, 0, :, first:], bias[first:]])


def _convolution_of(normalisation: str) -> str:
    if normalisation == "bn_Conv1":
        return "Conv1"
    return _LAST if normalisation == "Conv_1_bn" else normalisation.removesuffix("_BN")


def _read(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except (ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise ClassifierError(f"{path.name} is not a .npz file of arrays") from error


def _take(arrays: dict[str, Array], path: Path, name: str, shape: tuple[int, ...]) -> Array:
    if name not in arrays:
        raise ClassifierError(f"{path.name} has no {name}: it is not a MobileNetV2 with folded batch norms")
    if arrays[name].shape != shape:
        raise ClassifierError(f"{path.name}: {name} has the shape {arrays[name].shape}, the network {shape}")
    return arrays[name]
