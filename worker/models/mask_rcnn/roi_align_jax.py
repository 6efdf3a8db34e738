"""ROIAlign where JAX has the feature maps: on the GPU, from where fetching them would take longer than all else."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from worker.engines.keras import filled
from worker.models.mask_rcnn.roi_align import Axis, FeatureMap, Integers, Part

#: an array of NumPy outside of what is compiled, a `jax.Array` within
Tensor: TypeAlias = Any

#: cells that a bin takes along an axis, of most regions: as many as that are room for, so that one length is enough
USUAL: Final = 8


def pool_there(maps: Sequence[FeatureMap], parts: Iterable[Part], count: int, bins: int) -> Tensor:
    """The features of regions, all of one size.

    JAX compiles for each length, so that the regions are filled up to a power of two. It holds a copy of all maps and
    twice the result meanwhile.

    Args:
        maps: P2 to P5.
        parts: what is taken from which.
        count: number of regions.
        bins: rows and columns to pool to.

    Returns:
        float32 (M, bins, bins, channels), M the power of two that `count` is filled up to; zeros after those.
    """
    parts, size = list(parts), filled(count)
    before = np.cumsum([0, *(np.prod(each.shape[:-1]) for each in maps)])
    first, columns = np.zeros(size, np.int32), np.zeros(size, np.int32)
    for part in parts:
        first[part.regions] = before[part.level] + part.offsets
        columns[part.regions] = maps[part.level].shape[2]
    vertical = [(part.regions, part.vertical) for part in parts]
    horizontal = [(part.regions, part.horizontal) for part in parts]
    longest = max(sum(len(axis.cells) for _, axis in axes) for axes in (vertical, horizontal))
    length = filled(max(longest, size * bins * USUAL))
    samples = [_samples(axes, size, bins, length) for axes in (vertical, horizontal)]
    return _pool(list(maps), first, columns, *samples, bins=bins)


class _Samples(NamedTuple):
    """What the bins of all regions take along one axis: bin after bin of a region, region after region."""

    starts: Tensor
    """int32 (N,), where a region's begin"""
    counts: Tensor
    """int32 (N,), how many each of its bins has"""
    cells: Tensor
    """int32 (T,), rows or columns of its map"""
    weights: Tensor
    """float32 (T,)"""


def _samples(axes: Sequence[tuple[Integers, Axis]], size: int, bins: int, length: int) -> _Samples:
    found = _Samples(
        np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(length, np.int32), np.zeros(length, np.float32)
    )
    taken = 0
    for regions, axis in axes:
        end = taken + len(axis.cells)
        found.starts[regions] = taken + axis.starts(bins)[:, 0]
        found.counts[regions] = axis.counts
        found.cells[taken:end], found.weights[taken:end] = axis.cells, axis.weights
        taken = end
    return found


@functools.partial(jax.jit, static_argnames="bins")
def _pool(
    maps: list[FeatureMap], first: Tensor, columns: Tensor, vertical: _Samples, horizontal: _Samples, *, bins: int
) -> Tensor:
    """One pair of a row and a column of each bin after the other: an array of all would take gigabytes."""
    table = jnp.concatenate([each.reshape(-1, each.shape[-1]) for each in maps])
    numbers = jnp.arange(bins)

    def along(samples: _Samples, number: Tensor) -> tuple[Tensor, Tensor]:
        there = (number < samples.counts)[:, None]
        index = samples.starts[:, None] + samples.counts[:, None] * numbers
        index += jnp.where(there, number[:, None], 0)  # else the next region's, or beyond the last
        return samples.cells[index], jnp.where(there, samples.weights[index], 0)

    def add(pair: Tensor, pooled: Tensor) -> Tensor:
        across = jnp.maximum(horizontal.counts, 1)
        rows, down = along(vertical, pair // across)
        cells, right = along(horizontal, pair % across)
        index = first[:, None, None] + rows[:, :, None] * columns[:, None, None] + cells[:, None, :]
        return pooled + table[index] * (down[:, :, None] * right[:, None, :])[..., None]

    pooled = jnp.zeros((len(first), bins, bins, table.shape[-1]), table.dtype)
    return jax.lax.fori_loop(0, jnp.max(vertical.counts * horizontal.counts), add, pooled)
