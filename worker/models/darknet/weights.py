"""Darknet's `.weights` files: read and written.

The format, little-endian: version as three int32 (major, minor, revision); the number of images seen in training,
8 bytes from version 0.2 on and 4 before; then float32 values, for each convolution in the `.cfg`'s order: biases,
then with batch normalisation scales, means and variances, then the kernels as (filters, input channels of one
group, height, width). Nothing says which network a file is for: it fits when it is used up exactly.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from worker.models.darknet.cfg import Convolutional
from worker.models.darknet.errors import DarknetError
from worker.models.darknet.plan import Plan, Planned

Array = NDArray[np.float32]

FLOAT: Final = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Scale, mean and variance of a batch normalisation; float32, one value a filter."""

    scale: Array
    mean: Array
    variance: Array


@dataclass(frozen=True, slots=True)
class ConvolutionWeights:
    """The values of one convolution.

    `bias` is (filters,), with batch normalisation the value added after it; `kernels` is (filters, input channels
    of one group, height, width).
    """

    bias: Array
    normalisation: Normalisation | None
    kernels: Array


def count_values(step: Planned) -> int:
    """How many float32 values a layer has in the file: none unless it is a convolution."""
    if not isinstance(step.layer, Convolutional):
        return 0
    filters, channels, height, width = step.kernel_shape
    return filters * ((4 if step.layer.batch_normalize else 1) + channels * height * width)


def read_weights(path: Path, plan: Plan) -> dict[int, ConvolutionWeights]:
    """Read the weights of a network.

    Args:
        path: a `.weights` file.
        plan: the network it belongs to.

    Returns:
        The weights of each convolution by its number in the `.cfg`.

    Raises:
        DarknetError: the header is not one of Darknet's, or the file is short, long, or of another network; the
            message names the layer at which that shows.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        _read_header(file)
        left, rest = divmod(os.fstat(file.fileno()).st_size - file.tell(), FLOAT.itemsize)
        result: dict[int, ConvolutionWeights] = {}
        last = "the header"
        for step in plan.layers:
            wanted = count_values(step)
            if not wanted:
                continue
            if wanted > left:
                raise DarknetError(
                    f"the weights end too early: {step.name} takes {wanted} values and {left} are left. "
                    "The file was cut off or belongs to another network."
                )
            # never more than the file holds: `wanted` was checked against its size
            values = np.fromfile(file, FLOAT, wanted).astype(np.float32, copy=False)
            if values.size != wanted:
                raise DarknetError(f"the weights end too early, in {step.name}")
            result[step.index] = _cut(step, values)
            left -= wanted
            last = step.name
    if left or rest:
        raise DarknetError(
            f"the weights go on for {left * FLOAT.itemsize + rest} bytes after {last}, the last layer that has any. "
            "The file belongs to another network."
        )
    return result


def _read_header(file: BinaryIO) -> None:
    head = file.read(12)
    if len(head) < 12:
        raise DarknetError("the weights end within the header")
    major, minor, _revision = (int(number) for number in np.frombuffer(head, "<i4"))
    if not (0 <= major < 1000 and 0 <= minor < 1000):
        raise DarknetError(f"the header says version {major}.{minor}: this is no Darknet weights file")
    seen = 8 if (major, minor) >= (0, 2) else 4
    if len(file.read(seen)) < seen:
        raise DarknetError("the weights end within the header")


def _cut(step: Planned, values: Array) -> ConvolutionWeights:
    filters = step.kernel_shape[0]
    if not np.isfinite(values).all():
        raise DarknetError(f"the weights of {step.name} are not all numbers: the file is broken or of another network")
    parts = values.reshape(-1)
    bias, rest = parts[:filters], parts[filters:]
    normalisation = None
    if isinstance(step.layer, Convolutional) and step.layer.batch_normalize:
        scale, mean, variance = rest[: 3 * filters].reshape(3, filters)
        rest = rest[3 * filters :]
        if (variance < 0).any():
            raise DarknetError(
                f"the weights of {step.name} have negative variances: the file belongs to another network"
            )
        normalisation = Normalisation(scale, mean, variance)
    return ConvolutionWeights(bias, normalisation, rest.reshape(step.kernel_shape))


def write_weights(
    path: Path, weights: Iterable[ConvolutionWeights], *, version: tuple[int, int, int] = (0, 2, 5), seen: int = 0
) -> None:
    """Write a `.weights` file: `read_weights` of the same network gives the same values back.

    Args:
        path: where to; overwritten.
        weights: of every convolution, in the `.cfg`'s order.
        version: major, minor and revision for the header; before 0.2 `seen` takes 4 bytes.
        seen: number of images seen in training.
    """
    with path.open("wb") as file:
        file.write(np.asarray(version, "<i4").tobytes())
        file.write(np.asarray([seen], "<u8" if version[:2] >= (0, 2) else "<u4").tobytes())
        for values in weights:
            file.write(values.bias.astype(FLOAT).tobytes())
            if values.normalisation is not None:
                for part in (values.normalisation.scale, values.normalisation.mean, values.normalisation.variance):
                    file.write(part.astype(FLOAT).tobytes())
            file.write(values.kernels.astype(FLOAT).tobytes())
