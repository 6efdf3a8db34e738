"""Masks of single objects: cut to their box in memory, run-length encoded (COCO) in documents."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from shared.results import Rle


@dataclass(frozen=True, slots=True)
class InstanceMask:
    """The pixels of one object.

    A dozen megapixels times a hundred objects do not fit into memory, so only the part around the object is kept.

    Args:
        left: column of the image where `pixels` begins.
        top: row where it begins.
        pixels: bool (height, width), wholly inside the image; may be empty.
    """

    left: int
    top: int
    pixels: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of the object's pixels."""
        return int(np.count_nonzero(self.pixels))

    def to_rle(self, size: tuple[int, int]) -> Rle:
        """COCO's compressed run-length encoding for an image of `size` (height, width).

        The lengths are counted column by column over the whole image, though only the part is looked at.
        """
        height, width = size
        rows, columns = self.pixels.shape
        padded = np.zeros((columns, rows + 1), np.bool_)  # a run ends with its column
        padded[:, :-1] = self.pixels.T
        flat = np.concatenate([[False], padded.ravel()])
        column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), rows + 1)
        edges = (column + self.left) * height + self.top + row
        # an object from edge to edge goes on in the next column: one run, not two
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
        edges = np.delete(edges, np.concatenate([joined, joined + 1]))
        counts = np.diff(np.concatenate([[0], edges, [height * width]])).tolist()
        if len(counts) > 1 and counts[-1] == 0:  # the object ends with the image, and pycocotools then writes no more
            counts.pop()
        encoded: Any = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        return Rle(size=(height, width), counts=encoded["counts"].decode("ascii"))

    @classmethod
    def from_rle(cls, rle: Rle) -> "InstanceMask":
        """The mask of a document, cut to its box."""
        encoded: Any = {"size": list(rle.size), "counts": rle.counts.encode("ascii")}
        left, top, width, height = (int(value) for value in coco.toBbox(encoded))
        pixels = coco.decode(encoded)[top : top + height, left : left + width]
        return cls(left, top, pixels.astype(np.bool_))

    def paint(self, canvas: NDArray[np.bool_]) -> None:
        """Set the object's pixels in `canvas`, bool (height, width) of the image's size."""
        rows, columns = self.pixels.shape
        canvas[self.top : self.top + rows, self.left : self.left + columns] |= self.pixels


def covered_percent(masks: Iterable[InstanceMask], size: tuple[int, int]) -> float:
    """Share of the pixels of an image of `size` (height, width) that the masks together cover, from 0 to 100."""
    canvas = np.zeros(size, np.bool_)
    for mask in masks:
        mask.paint(canvas)
    return 100 * float(np.count_nonzero(canvas)) / canvas.size
