"""The training pictures, read from their files and kept in memory as far as there is room."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from worker.training.datasets.description import Sample
from worker.training.datasets.pixels import read_pixels
from worker.training.pictures import MIN_SIDE, Picture

#: bytes of pixels and masks kept in memory
CACHE_BYTES: Final = 1 << 30
#: pictures are kept at this many times the network's size: augmentation enlarges parts of them
DETAIL: Final = 1.6


class PictureSource:
    """Gives pictures by number.

    Args:
        samples: the training images.
        size: height and width of the network's input.
        with_masks: read the masks, too.
    """

    def __init__(self, samples: Sequence[Sample], size: tuple[int, int], *, with_masks: bool) -> None:
        self._samples = samples
        self._size = size
        self._with_masks = with_masks
        self._cache: OrderedDict[int, Picture] = OrderedDict()
        self._bytes = 0

    def __call__(self, index: int) -> Picture:
        """The picture `index`, shrunk if it is much larger than the network's input.

        Raises:
            DatasetError: its file cannot be read.
        """
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        picture = self._read(self._samples[index])
        self._cache[index] = picture
        self._bytes += _bytes_of(picture)
        while self._bytes > CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= _bytes_of(self._cache.popitem(last=False)[1])
        return picture

    def _read(self, sample: Sample) -> Picture:
        pixels = read_pixels(sample.path)
        height, width = pixels.shape[:2]
        masks = sample.masks() if self._with_masks and sample.masks is not None else None
        if masks is not None and masks.shape[1:] != (height, width):
            masks = None
        boxes = sample.boxes.clip(0, np.asarray([width, height, width, height], np.float32))
        factor = min(1.0, max(self._size[0] / height, self._size[1] / width) * DETAIL)
        if factor < 1:
            pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.uint8)
            rows, columns = pixels.shape[:2]
            boxes = boxes * np.asarray([columns / width, rows / height] * 2, np.float32)
            if masks is not None:
                resized = [cv2.resize(each.astype(np.uint8), (columns, rows)) > 0 for each in masks]
                masks = np.asarray(resized, np.bool_).reshape(-1, rows, columns)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides >= MIN_SIDE).all(axis=1) & ~sample.crowd
        return Picture(pixels, boxes[kept], sample.class_ids[kept], None if masks is None else masks[kept])


def _bytes_of(picture: Picture) -> int:
    return picture.pixels.nbytes + (0 if picture.masks is None else picture.masks.nbytes)
