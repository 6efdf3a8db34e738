"""From a photo to the input of a Darknet network: RGB from 0 to 1, stretched or letterboxed."""

from typing import Final, Literal

import cv2
import numpy as np

from worker.models.base import Image, Placement, Prepared

#: the grey around a letterboxed image, of 255; Darknet's is 0.5
GREY: Final = 127


def prepare(image: Image, height: int, width: int, resize: Literal["stretch", "letterbox"]) -> Prepared:
    """Scale an image to the size of the network's input.

    Args:
        image: uint8 RGB (rows, columns, 3).
        height: of the input.
        width: of the input.
        resize: "stretch" fills the input whatever the image's proportions; "letterbox" keeps them, in the middle
            of a grey input.

    Returns:
        The input, float32 (1, height, width, 3) from 0 to 1, and where the image lies in it.
    """
    rows, columns = image.shape[:2]
    placement = Placement((rows, columns), 0, 0, width, height)
    if resize == "letterbox":
        placement = _letterbox(rows, columns, height, width)
    target = (placement.width, placement.height)
    scaled = image if target == (columns, rows) else cv2.resize(image, target, interpolation=cv2.INTER_LINEAR)
    canvas = np.full((height, width, 3), GREY, np.uint8)
    bottom, right = placement.top + placement.height, placement.left + placement.width
    canvas[placement.top : bottom, placement.left : right] = scaled
    return Prepared(np.multiply(canvas, np.float32(1 / 255), dtype=np.float32)[np.newaxis], placement)


def _letterbox(rows: int, columns: int, height: int, width: int) -> Placement:
    if width * rows < height * columns:
        inner_width, inner_height = width, max(1, rows * width // columns)
    else:
        inner_width, inner_height = max(1, columns * height // rows), height
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    return Placement((rows, columns), left, top, inner_width, inner_height)
