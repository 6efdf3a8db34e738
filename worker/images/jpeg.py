"""Plain JPEGs are decoded by libjpeg-turbo itself: in two thirds of the time that OpenCV takes, to the same pixels.

Odd ones are OpenCV's, which takes more. It fills the missing half of a cut-off JPEG with grey and says nothing,
therefore `check_jpeg` looks for the end of the picture first.
"""

import re
from typing import Final

import cv2
import numpy as np
import simplejpeg

from shared.errors import BadInputError
from worker.images.refusing import CUT_SHORT, DAMAGED
from worker.pixels import Pixels

#: a progressive JPEG with more passes over its pixels than this is an attack on the worker's time
MAX_JPEG_SCANS: Final = 200
#: a marker inside or after the compressed pixels: neither a stuffed byte, nor a restart, nor a fill byte
_MARKER: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
_SOS: Final = 0xDA
_EOI: Final = 0xD9


def check_jpeg(data: bytes) -> None:
    """Walk from marker to marker until the picture ends.

    Raises:
        BadInputError: the file ends first, or the picture is painted over more than `MAX_JPEG_SCANS` times.
    """
    at, scans = 2, 0
    while found := _MARKER.search(data, at):
        marker = found[1][0]
        at = found.end()
        if marker == _EOI and scans:
            return
        if marker in (0x01, 0xD8, _EOI):  # these have no length
            continue
        if marker == _SOS:
            scans += 1
            if scans > MAX_JPEG_SCANS:
                raise BadInputError("bad_image", f"The JPEG is stored in more than {MAX_JPEG_SCANS} scans.")
        at += int.from_bytes(data[at : at + 2], "big")
    raise BadInputError("bad_image", CUT_SHORT)


def decode_jpeg(data: bytes, size: tuple[int, int]) -> Pixels:
    """The pixels as they are stored, (height, width, 3), RGB.

    Args:
        data: the file.
        size: width and height, as Pillow has read them and limits have let them pass.

    Raises:
        BadInputError: "bad_image".
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        pixels = simplejpeg.decode_jpeg(data, "RGB") if (width, height) == size else None
    except ValueError:
        # it takes for an error what libjpeg warns of, odd bytes that are in many a good photo
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    # a header that is read in another way than Pillow did has passed no limit
    if pixels is None or pixels.shape != (size[1], size[0], 3):
        raise BadInputError("bad_image", DAMAGED)
    return np.asarray(pixels, np.uint8)
