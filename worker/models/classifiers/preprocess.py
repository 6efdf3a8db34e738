"""From a photo to the input of a classifier: fitted to its size, its colours scaled as it was trained with."""

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.entries import Preprocessing
from worker.models.base import Image, Placement, Prepared

#: ImageNet's mean and deviation of red, green and blue: of 255 for "caffe", of 1 for "torch"
CAFFE_MEAN: Final = (123.68, 116.779, 103.939)
TORCH_MEAN: Final = (0.485, 0.456, 0.406)
TORCH_DEVIATION: Final = (0.229, 0.224, 0.225)

#: a photo so many times as large as the input is averaged: bilinear would look at some pixels and not at others
_AVERAGED_FROM: Final = 2


def fit(image: Image, height: int, width: int) -> Image:
    """Scale an image to a size, whatever its proportions: what `prepare` does before the colours."""
    rows, columns = image.shape[:2]
    large = rows >= _AVERAGED_FROM * height and columns >= _AVERAGED_FROM * width
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if large else cv2.INTER_LINEAR)
    return np.asarray(scaled, np.uint8)


def prepare(image: Image, height: int, width: int, preprocessing: Preprocessing) -> Prepared:
    """Scale an image to the size of the network's input.

    The input is filled whatever the image's proportions, as by Keras' `load_img(target_size=...)` and
    `image_dataset_from_directory`; bilinear, or by averaging where the image is much larger.

    Args:
        image: uint8 RGB (rows, columns, 3).
        height: of the input.
        width: of the input.
        preprocessing: what is done to the colours.

    Returns:
        The input, float32 (1, height, width, 3), and where the image lies in it: everywhere.
    """
    rows, columns = image.shape[:2]
    scaled = fit(image, height, width)
    placement = Placement((rows, columns), 0, 0, width, height)
    return Prepared(scale_colours(scaled[np.newaxis], preprocessing), placement)


def scale_colours(pixels: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Red, green and blue from 0 to 255 (..., 3), as `shared.entries.Preprocessing` says; float32."""
    values = pixels.astype(np.float32)
    match preprocessing:
        case "none":
            return values
        case "unit":
            return values * np.float32(1 / 255)
        case "tf":
            return values * np.float32(1 / 127.5) - np.float32(1)
        case "torch":
            deviation = np.asarray(TORCH_DEVIATION, np.float32)
            return (values * np.float32(1 / 255) - np.asarray(TORCH_MEAN, np.float32)) / deviation
        case "caffe":
            return np.ascontiguousarray((values - np.asarray(CAFFE_MEAN, np.float32))[..., ::-1])
