"""The way of a picture: opened, checked, decoded, brought to RGB, turned upright."""

import re
import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import pillow_heif
from PIL import Image

from shared.errors import BadInputError
from worker.images.colours import to_rgb
from worker.images.decoded import DecodedImage
from worker.images.frames import count_frames
from worker.images.jpeg import check_jpeg, decode_jpeg
from worker.images.orientation import orientation_of, upright
from worker.images.profiles import needs_profile
from worker.images.refusing import check_size, refuse

#: Pillow's names of the formats that are tried (JPEG stands for MPO too). Icons and JPEG 2000 are left out on
#: purpose: Pillow decodes an icon while it opens it, before a limit can be set, and JPEG 2000 takes 12 bytes
#: and more for a pixel.
FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "PPM")

#: Pillow warns of odd bytes in files; those are neither ours nor to be mended
_QUIET: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_pillow_lock = threading.Lock()

pillow_heif.register_heif_opener()


def decode_image(data: bytes | Path | BinaryIO, *, max_pixels: int, max_aspect: int) -> DecodedImage:
    """Decode the first frame of a picture.

    Args:
        data: the file: its bytes, its path, or itself opened in binary mode.
        max_pixels: more are refused.
        max_aspect: long side divided by short side; more is refused.

    Raises:
        BadInputError: `bad_image`, `too_many_pixels` or `bad_aspect`.
    """
    if isinstance(data, Path):
        data = data.read_bytes()
    elif not isinstance(data, bytes):
        data = data.read()
    if not data:
        raise BadInputError("bad_image", "The file is empty.")
    _prepare_pillow(max_pixels)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            return _decode(image, data, max_pixels, max_aspect)
    except (BadInputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 -- whatever a decoder makes of hostile bytes
        refuse(error, data, max_pixels)


def _decode(image: Image.Image, data: bytes, max_pixels: int, max_aspect: int) -> DecodedImage:
    check_size(image.size, max_pixels, max_aspect)
    notes: list[str] = []
    frames = count_frames(image, data, notes)
    file_format = image.format or ""
    if file_format in ("JPEG", "MPO"):
        check_jpeg(data)
    if file_format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and not needs_profile(image):
        pixels = decode_jpeg(data, image.size)
    else:
        image.load()
        check_size(image.size, max_pixels, max_aspect)  # HEIC knows better once decoded
        pixels = np.asarray(to_rgb(image, notes))
    pixels = upright(pixels, orientation_of(image))
    return DecodedImage(np.ascontiguousarray(pixels), file_format, frames, tuple(notes))


def _prepare_pillow(max_pixels: int) -> None:
    """Set Pillow's two process-wide switches, in one direction only, so that threads cannot undo each other's.

    Its own limit on pixels is the second net, for what lies below the size in the header (a TIFF's tiles, a
    GIF's frames): it must not be tighter than ours. Its warnings are never shown, nor turned into errors.
    """
    with _pillow_lock:
        if (Image.MAX_IMAGE_PIXELS or 0) < max_pixels:
            Image.MAX_IMAGE_PIXELS = max_pixels
        if not warnings.filters or warnings.filters[0] != _QUIET:
            warnings.filterwarnings("ignore", module=r"PIL\.")
