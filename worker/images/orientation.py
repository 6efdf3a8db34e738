"""Which way up a picture is."""

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base as ExifTag

from worker.pixels import Pixels


def orientation_of(image: Image.Image) -> int:
    """EXIF's or XMP's, 1 to 8; 1 if there is none that can be read. TIFF, HEIC: Pillow has applied it."""
    try:
        value = image.getexif().get(ExifTag.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- broken EXIF never fails a picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels (height, width, 3) as they are meant to be seen, for an orientation of EXIF's, from 1 to 8."""
    match orientation:
        case 2:
            turned = cv2.flip(pixels, 1)
        case 3:
            turned = cv2.rotate(pixels, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(pixels, 0)
        case 5:
            turned = cv2.transpose(pixels)
        case 6:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180)
        case 8:
            turned = cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return pixels
    return turned.astype(np.uint8, copy=False)
