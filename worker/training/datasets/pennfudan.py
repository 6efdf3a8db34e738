"""Penn-Fudan's format: an image and a mask for each.

`PNGImages/NAME.png`, and `PedMasks/NAME_mask.png` in which each pixel is the number of its object, 0 for the
background. Boxes follow from the masks.
"""

from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.training.datasets.description import Dataset, Problem, Sample, make_sample
from worker.training.datasets.errors import DatasetError

IMAGES: Final = "PNGImages"
MASKS: Final = "PedMasks"
LABEL: Final = "person"
#: more objects than any photo has; a photo taken for a mask has more
MAX_OBJECTS: Final = 1000


def looks_like_pennfudan(root: Path) -> bool:
    """Whether both folders are there."""
    return (root / IMAGES).is_dir() and (root / MASKS).is_dir()


def read_pennfudan(root: Path, label: str = LABEL) -> Dataset:
    """Read a data set in this format.

    Args:
        root: the folder of `PNGImages` and `PedMasks`.
        label: what all objects are, as the format does not say.
    """
    samples: list[Sample] = []
    problems: list[Problem] = []
    for image in sorted((root / IMAGES).glob("*.png")):
        mask = root / MASKS / f"{image.stem}_mask.png"
        try:
            pixels = _read_mask(mask)
        except DatasetError as error:
            code = "mask_unreadable" if mask.is_file() else "mask_missing"
            problems.append(Problem(code, mask.relative_to(root).as_posix(), str(error)))
            continue
        numbers = np.unique(pixels[pixels > 0])
        boxes = [_box(pixels == number) for number in numbers]
        height, width = pixels.shape
        masks = partial(_split_mask, mask, numbers)
        samples.append(make_sample(image, (height, width), boxes, [0] * len(boxes), masks=masks))
    return Dataset(root, "masks", "Penn-Fudan masks", (label,), tuple(samples), tuple(problems))


def _read_mask(path: Path) -> NDArray[np.uint16]:
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        raise DatasetError("the mask is missing or cannot be read") from None
    if pixels is None or pixels.ndim != 2 or len(np.unique(pixels)) > MAX_OBJECTS:
        raise DatasetError("the mask is no grey PNG with a number an object")
    return pixels.astype(np.uint16, copy=False)


def _split_mask(path: Path, numbers: NDArray[np.uint16]) -> NDArray[np.bool_]:
    pixels = _read_mask(path)
    return np.stack([pixels == number for number in numbers])


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
