"""Reading images for training."""

from pathlib import Path

import cv2
import numpy as np

from worker.models.base import Image
from worker.training.datasets.errors import DatasetError


def read_pixels(path: Path) -> Image:
    """Decode an image, turned as its EXIF data says.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        DatasetError: it is missing or cannot be decoded.
    """
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        raise DatasetError(f"{path.name} is missing or cannot be read") from None
    if pixels is None:
        raise DatasetError(f"{path.name} is no image that can be decoded")
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)
