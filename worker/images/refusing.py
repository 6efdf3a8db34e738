"""What is refused, and in which words."""

import re
from typing import Final, NoReturn

import cv2
from PIL import Image, UnidentifiedImageError

from shared.errors import BadInputError

#: an annotated JPEG can be no wider and no higher
MAX_SIDE: Final = 65_500
CUT_SHORT: Final = "The picture is cut short: its file ends before its pixels do."
DAMAGED: Final = "The picture is damaged: it cannot be decoded."
_MAGIC: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II[\x2a\x2b]\0|MM\0[\x2a\x2b]|....ftyp|P[1-7f][\s#]", re.DOTALL
)


def check_size(size: tuple[int, int], max_pixels: int, max_aspect: int) -> None:
    """Refuse a picture by its width and height.

    Args:
        size: width and height in pixels.
        max_pixels: as of `decode_image`.
        max_aspect: as of `decode_image`.

    Raises:
        BadInputError: "bad_image", "too_many_pixels" or "bad_aspect".
    """
    width, height = size
    if width < 1 or height < 1:
        raise BadInputError("bad_image", "The picture has no pixels.")
    if width * height > max_pixels:
        raise BadInputError(
            "too_many_pixels",
            f"The picture has {width} x {height} pixels; {_millions(max_pixels)} pixels are the limit.",
        )
    if max(size) > max_aspect * min(size):
        raise BadInputError(
            "bad_aspect",
            f"The picture has {width} x {height} pixels; its long side may be {max_aspect} times its short side.",
        )
    if max(size) > MAX_SIDE:
        raise BadInputError(
            "too_many_pixels", f"The picture has {width} x {height} pixels; a side may have {MAX_SIDE}."
        )


def _millions(pixels: int) -> str:
    return f"{pixels / 1e6:g} million" if pixels >= 1_000_000 else str(pixels)


def refuse(error: Exception, data: bytes, max_pixels: int) -> NoReturn:
    """Say in public words what a decoder's exception means.

    Args:
        error: the exception.
        data: the file.
        max_pixels: as of `decode_image`.

    Raises:
        BadInputError: "bad_image" or "too_many_pixels".
        MemoryError: that was what it meant.
    """
    if isinstance(error, Image.DecompressionBombError):
        raise BadInputError(
            "too_many_pixels", f"The picture has more than the {_millions(max_pixels)} pixels that are the limit."
        ) from error
    said = str(error).lower()
    if "out of memory" in said or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem):
        raise MemoryError from error
    if isinstance(error, EOFError) or "truncated" in said or "end of file" in said:
        raise BadInputError("bad_image", CUT_SHORT) from error
    if isinstance(error, UnidentifiedImageError) and not _MAGIC.match(data):
        raise BadInputError(
            "bad_image",
            "This is not a picture that can be read: JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF, HEIC and PNM can.",
        ) from error
    raise BadInputError("bad_image", DAMAGED) from error
