"""ROIAlign in `keras.ops`, for training: differentiable, on any backend, the regions in a tensor.

The same as `roi_align` with the same number of samples everywhere. Imports Keras: choose the backend before.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from keras import ops

from worker.models.mask_rcnn.plan import POOLED_LEVELS, STRIDES, Plan, Size
from worker.models.mask_rcnn.roi_align import CANONICAL_LEVEL, CANONICAL_SIDE

Tensor: TypeAlias = Any


def pool_tensors(
    plan: Plan, maps: Sequence[Tensor], regions: Tensor, images: Tensor, bins: int, canvas: Size, *, samples: int = 2
) -> Tensor:
    """The features of regions, all of one size. Gradients flow to the maps, not to the regions.

    Args:
        plan: which variant, see `roi_align.pool`.
        maps: P2 to P5, float32 (images, rows, columns, channels), rows and columns known.
        regions: float32 (N, 4), in pixels of the network's input, less `plan.far_edge`.
        images: int32 (N,), which image each is of.
        bins: rows and columns to pool to.
        canvas: height and width of the network's input.
        samples: of Detectron2's variant in each direction of a bin.

    Returns:
        float32 (N, bins, bins, channels).
    """
    regions = ops.stop_gradient(regions)
    samples = samples if plan.aligned else 1
    shapes = [(int(each.shape[1]), int(each.shape[2])) for each in maps]
    channels = maps[0].shape[-1]
    # all maps as one list of cells, an image of a level after the other
    cells = ops.concatenate([ops.reshape(each, (-1, channels)) for each in maps], axis=0)
    count = ops.shape(maps[0])[0]
    level = _levels(plan, regions, canvas)

    def of_level(values: Sequence[float]) -> Tensor:
        return ops.take(ops.convert_to_tensor(values, "float32"), level, axis=0)

    ends = [0]
    for rows, columns in shapes:
        ends.append(ends[-1] + rows * columns)
    before = ops.take(ops.convert_to_tensor(ends[:POOLED_LEVELS], "int32"), level, axis=0) * count
    size = ops.take(ops.convert_to_tensor([rows * columns for rows, columns in shapes], "int32"), level, axis=0)
    width = ops.take(ops.convert_to_tensor([columns for _, columns in shapes], "int32"), level, axis=0)
    first = before + ops.cast(images, "int32") * size

    stride = of_level(STRIDES[:POOLED_LEVELS])
    sides = []
    for start, side, limits in ((1, canvas[0], [rows for rows, _ in shapes]), (0, canvas[1], [c for _, c in shapes])):
        low, high = regions[:, start], regions[:, start + 2]
        sides.append(_axis(plan, low, high, bins * samples, of_level(limits), stride, side))
    (top, bottom, down, in_rows), (left, right, across, in_columns) = sides

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = first[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None, :]
        return ops.take(cells, index, axis=0)

    down, across = down[:, :, None, None], across[:, None, :, None]
    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    inside = in_rows[:, :, None, None] * in_columns[:, None, :, None]
    found = (upper * (1 - down) + lower * down) * inside
    if samples == 1:
        return found
    return ops.mean(ops.reshape(found, (-1, bins, samples, bins, samples, channels)), axis=(2, 4))


def _levels(plan: Plan, regions: Tensor, canvas: Size) -> Tensor:
    """As `roi_align.levels_of`, int32."""
    height, width = canvas
    sides = ops.maximum(regions[:, 2:] - regions[:, :2], 0.0)
    stretch = height * width / ((height - plan.far_edge) * (width - plan.far_edge))
    relative = ops.sqrt(sides[:, 0] * sides[:, 1] * stretch) / CANONICAL_SIDE
    exact = CANONICAL_LEVEL + ops.log2(relative + 1e-8)
    rounded = ops.floor(exact) if plan.aligned else ops.round(exact)
    return ops.cast(ops.clip(rounded, 2, POOLED_LEVELS + 1), "int32") - 2


def _axis(
    plan: Plan, low: Tensor, high: Tensor, points: int, cells: Tensor, stride: Tensor, side: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along one axis, for each region and sample: the cells around it, the share of the second, 1 or 0 if outside."""
    steps = ops.arange(points, dtype="float32")[None]
    low, high, cells, stride = low[:, None], high[:, None], cells[:, None], stride[:, None]
    if plan.aligned:
        start, length = low / stride - 0.5, (high - low) / stride
        positions = start + (steps + 0.5) * length / points
        inside = ops.logical_and(positions >= -1.0, positions <= cells)
    else:
        positions = (low + (high - low) * steps / max(1, points - 1)) * (cells - 1) / (side - plan.far_edge)
        inside = ops.logical_and(positions >= 0.0, positions <= cells - 1)
    positions = ops.minimum(ops.maximum(positions, 0.0), cells - 1)
    first = ops.floor(positions)
    second = ops.minimum(first + 1, cells - 1)
    return ops.cast(first, "int32"), ops.cast(second, "int32"), positions - first, ops.cast(inside, "float32")
