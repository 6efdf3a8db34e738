"""ROIAlign where JAX has the feature maps: on the GPU, from where fetching them would take longer than all else."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from worker.engines.keras import filled
from worker.models.mask_rcnn.roi_align import Axis, FeatureMap, Integers, Part

#: an array of NumPy outside of what is compiled, a `jax.Array` within
Tensor: TypeAlias = Any


def pool_there(maps: Sequence[FeatureMap], parts: Iterable[Part], count: int, bins: int) -> Tensor:
    """The features of regions, all of one size.

    JAX compiles for each length, so that what has one is filled up to powers of two.

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
    vertical = _samples([(part.regions, part.vertical) for part in parts], size, bins)
    horizontal = _samples([(part.regions, part.horizontal) for part in parts], size, bins)
    return _pool(list(maps), first, columns, vertical, horizontal, bins=bins)


class _Samples(NamedTuple):
    """What the bins of all regions take along one axis; in all `counts` of a bin are beside each other."""

    starts: Tensor
    """int32 (N,), where a region's begin"""
    counts: Tensor
    """int32 (N,), how many each of its bins has"""
    cells: Tensor
    """int32 (T,), rows or columns of its map"""
    weights: Tensor
    """float32 (T,)"""


def _samples(axes: Sequence[tuple[Integers, Axis]], size: int, bins: int) -> _Samples:
    length = sum(len(axis.cells) for _, axis in axes)
    found = _Samples(
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
        np.zeros(filled(length), np.int32),
        np.zeros(filled(length), np.float32),
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
    bin_ = jnp.arange(bins)

    def along(samples: _Samples, number: Tensor) -> tuple[Tensor, Tensor]:
        index = samples.starts[:, None] + samples.counts[:, None] * bin_ + number[:, None]
        there = (number < samples.counts)[:, None]
        return samples.cells[index], jnp.where(there, samples.weights[index], 0)

    def add(pair: Tensor, pooled: Tensor) -> Tensor:
        across = jnp.maximum(horizontal.counts, 1)
        rows, down = along(vertical, pair // across)
        cells, right = along(horizontal, pair % across)
        index = first[:, None, None] + rows[:, :, None] * columns[:, None, None] + cells[:, None, :]
        return pooled + table[index] * (down[:, :, None] * right[:, None, :])[..., None]

    pooled = jnp.zeros((len(first), bins, bins, table.shape[-1]), table.dtype)
    return jax.lax.fori_loop(0, jnp.max(vertical.counts * horizontal.counts), add, pooled)
