"""The pictures of a part of the data, as the service would feed them: of the input's size, not yet in its colours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.base import Image
from worker.models.classifiers.preprocess import fit
from worker.training.datasets.description import Sample
from worker.training.datasets.pixels import read_pixels

#: bytes of pictures kept in memory
CACHE_BYTES: Final = 1 << 31
#: what is shown around a box, of its sides
MARGIN: Final = 0.1


class Pictures:
    """Gives pictures by number; reads as many as it may keep at once.

    Args:
        samples: of one class each; those with a box are cut out.
        size: height and width of the network's input.

    Raises:
        DatasetError: a file cannot be read.
    """

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int]) -> None:
        self._samples = samples
        self._size = size
        self._photo: tuple[Path, Image] | None = None
        kept = min(len(samples), CACHE_BYTES // (size[0] * size[1] * 3))
        self._kept = [self._read(index) for index in range(kept)]
        #: int64 (N,)
        self.class_ids: NDArray[np.int64] = np.asarray([sample.class_ids[0] for sample in samples], np.int64)

    def __len__(self) -> int:
        return len(self._samples)

    def take(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Some of the pictures, uint8 RGB (len(indices), height, width, 3)."""
        found = [self._kept[index] if index < len(self._kept) else self._read(index) for index in indices]
        return np.stack(found)

    def _read(self, index: int) -> Image:
        sample = self._samples[index]
        if self._photo is None or self._photo[0] != sample.path:  # the boxes of one photo follow each other
            self._photo = (sample.path, read_pixels(sample.path))
        return fit(_cut_out(self._photo[1], sample), *self._size)


def _cut_out(photo: Image, sample: Sample) -> Image:
    """What lies in the sample's box and a little around it; the whole photo if there is none."""
    if not len(sample.boxes):
        return photo
    rows, columns = photo.shape[:2]
    left, top, right, bottom = sample.boxes[0].tolist()
    x, y = MARGIN * (right - left), MARGIN * (bottom - top)
    first_row, last_row = max(0, int(top - y)), min(rows, round(bottom + y))
    first_column, last_column = max(0, int(left - x)), min(columns, round(right + x))
    return photo[first_row:last_row, first_column:last_column]
