"""ROIAlign (arXiv 1703.06870, section 3) for inference: pooling as a sparse matrix.

A cell of a pooled region is the mean of some samples, and a sample is a weighted sum of the four cells of the feature
map around it. So all pooled cells of all regions are one sparse matrix times the feature map, a row of channels for
each of its cells. SciPy's product reads the rows it needs and makes no array in between: at 1024 pixels and 1000
regions that takes 40 ms, where the same by gathering rows takes a second (OpenVINO). Maps that are on a GPU are
pooled there (`roi_align_jax`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from worker.models.mask_rcnn.plan import POOLED_LEVELS, STRIDES, Plan, Size

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
#: float32 (images, rows, columns, channels), of NumPy, or of JAX on a GPU
FeatureMap: TypeAlias = Any

#: a region as large as ImageNet's images, for which ResNets were trained, belongs to level 4 (arXiv 1612.03144, eq. 1)
CANONICAL_SIDE: Final = 224.0
CANONICAL_LEVEL: Final = 4


@dataclass(frozen=True, slots=True)
class Axis:
    """What the bins of regions take along one axis.

    Args:
        cells: (T,), cells of the map; region after region, bin after bin.
        weights: float32 (T,).
        counts: (N,), how many of them each bin of a region has.
    """

    cells: Integers
    weights: Floats
    counts: Integers

    def starts(self, bins: int) -> Integers:
        """(N, bins), where each bin begins."""
        ends = np.cumsum(np.repeat(self.counts, bins))
        return np.asarray(np.concatenate([[0], ends[:-1]]), np.int64).reshape(-1, bins)


class Part(NamedTuple):
    """What is pooled from one level of the pyramid."""

    level: int
    regions: Integers
    """(M,), which"""
    offsets: Integers
    """(M,), the first cell of each one's image"""
    vertical: Axis
    horizontal: Axis


def levels_of(plan: Plan, regions: Floats, canvas: Size) -> Integers:
    """Which level of the pyramid each region is pooled from: int64 (N,), 0 for P2 to 3 for P5.

    Args:
        plan: Matterport rounds, Detectron2 rounds down.
        regions: (N, 4), less `plan.far_edge`.
        canvas: height and width of the network's input.
    """
    height, width = canvas
    sides = np.maximum(regions[:, 2:] - regions[:, :2], 0).astype(np.float64)
    # Matterport's shares of the input times the input's size, which is a pixel more than the box was divided by
    stretch = height * width / ((height - plan.far_edge) * (width - plan.far_edge))
    relative = np.sqrt(sides[:, 0] * sides[:, 1] * stretch) / CANONICAL_SIDE
    exact = CANONICAL_LEVEL + np.log2(relative + 1e-8)
    rounded = np.floor(exact) if plan.aligned else np.round(exact)
    return np.asarray(rounded.clip(2, POOLED_LEVELS + 1), np.int64) - 2


def pool(plan: Plan, maps: Sequence[FeatureMap], regions: Floats, images: Integers, bins: int, canvas: Size) -> Floats:
    """The features of regions, all of one size.

    Args:
        plan: which variant. Matterport: crop-and-resize, one sample in the middle between those of the neighbours, the
            first and the last on the region's edges. Detectron2: aligned, in each bin as many samples as there are
            cells.
        maps: P2 to P5.
        regions: (N, 4), in pixels of the network's input, less `plan.far_edge`.
        images: (N,), which image each is of.
        bins: rows and columns to pool to.
        canvas: height and width of the network's input.

    Returns:
        float32 (N, bins, bins, channels). Of maps on a GPU an array there, longer than N: see `pool_there`.
    """
    channels = maps[0].shape[-1]
    parts = _parts(plan, [each.shape for each in maps], regions, images, bins, canvas)
    if not isinstance(maps[0], np.ndarray):  # they are of JAX, which no other worker needs
        from worker.models.mask_rcnn.roi_align_jax import pool_there

        return cast(Floats, pool_there(maps, parts, len(regions), bins))
    pooled = np.zeros((len(regions), bins * bins, channels), np.float32)
    for part in parts:
        features = maps[part.level].reshape(-1, channels)
        matrix = _product(part, bins, maps[part.level].shape[2], len(features))
        pooled[part.regions] = (matrix @ features).reshape(len(part.regions), bins * bins, channels)
    return pooled.reshape(len(regions), bins, bins, channels)


def _parts(
    plan: Plan, shapes: list[tuple[int, ...]], regions: Floats, images: Integers, bins: int, canvas: Size
) -> Iterator[Part]:
    levels = levels_of(plan, regions, canvas)
    for level, (_, rows, columns, _) in enumerate(shapes):
        (chosen,) = np.nonzero(levels == level)
        if not len(chosen):
            continue
        sides = [
            _axis(plan, regions[chosen, start], regions[chosen, start + 2], bins, cells, STRIDES[level], side)
            for start, cells, side in ((1, rows, canvas[0]), (0, columns, canvas[1]))
        ]
        yield Part(level, chosen, images[chosen] * (rows * columns), *sides)


def _axis(plan: Plan, low: Floats, high: Floats, bins: int, cells: int, stride: int, side: int) -> Axis:
    """The samples of regions from `low` to `high` (N,) pixels on an axis of `cells` cells and `side` pixels."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    if not plan.aligned:
        # corners on corners: the last pixel of the input is the last cell of the map
        scale = (cells - 1) / (side - plan.far_edge)
        positions = (low[:, np.newaxis] + (high - low)[:, np.newaxis] * np.linspace(0, 1, bins)) * scale
        counts = np.ones(len(low), np.int64)
        inside = (positions >= 0) & (positions <= cells - 1)
        positions, inside = positions.ravel(), inside.ravel()
    else:
        start, length = low / stride - 0.5, (high - low) / stride
        counts = np.maximum(np.ceil(length / bins), 1).astype(np.int64)
        total = counts * bins
        region = np.repeat(np.arange(len(low)), total)
        within = np.arange(len(region)) - np.repeat(np.cumsum(total) - total, total)
        positions = start[region] + (within + 0.5) * (length / total)[region]
        inside = (positions >= -1) & (positions <= cells)
    positions = positions.clip(0, cells - 1)
    lower = np.floor(positions).astype(np.int64)
    share = positions - lower
    corners = np.stack([lower, np.minimum(lower + 1, cells - 1)], axis=1)
    weights = np.stack([1 - share, share], axis=1) * (inside / np.repeat(counts, counts * bins))[:, np.newaxis]
    return Axis(corners.ravel(), weights.astype(np.float32).ravel(), 2 * counts)


def _product(part: Part, bins: int, columns: int, cells: int) -> "sparse.csr_array":
    """The matrix (M * bins * bins, cells): for each bin all pairs of what it takes along the two axes.

    Args:
        part: of this level.
        bins: rows and columns to pool to.
        columns: of the map.
        cells: of the maps of all images.
    """
    vertical, horizontal = part.vertical, part.horizontal
    row_start = np.repeat(vertical.starts(bins), bins, axis=1).ravel()
    column_start = np.tile(horizontal.starts(bins), (1, bins)).ravel()
    counts = np.repeat(vertical.counts * horizontal.counts, bins * bins)
    ends = np.cumsum(counts)
    # entry k of a bin is the pair of its row k // n and its column k % n
    entry = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    row, column = np.divmod(entry, np.repeat(np.repeat(horizontal.counts, bins * bins), counts))
    row += np.repeat(row_start, counts)
    column += np.repeat(column_start, counts)
    indices = vertical.cells[row] * columns + horizontal.cells[column]
    indices += np.repeat(np.repeat(part.offsets, bins * bins), counts)
    weights = vertical.weights[row] * horizontal.weights[column]
    return sparse.csr_array((weights, indices, np.concatenate([[0], ends])), shape=(len(counts), cells))
