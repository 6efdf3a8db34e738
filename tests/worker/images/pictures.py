"""Pictures made here, and how they are decoded in tests.

Expectations come from a second way of computing the same: Pillow alone, numpy, or the picture that was encoded.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.errors import BadInputError
from worker.images import DecodedImage, decode_image

Pixels = NDArray[np.uint8]


def decode(data: bytes | Path, max_pixels: int = 100_000_000, max_aspect: int = 100) -> DecodedImage:
    return decode_image(data, max_pixels=max_pixels, max_aspect=max_aspect)


def refusal(data: bytes | Path, max_pixels: int = 100_000_000, max_aspect: int = 100) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        decode(data, max_pixels, max_aspect)
    return caught.value


def photo(width: int = 96, height: int = 64) -> Pixels:
    """Smooth, colourful, and different in each corner."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack((x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)), axis=2).astype(np.uint8)


def encoded(picture: Pixels | Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, file_format, **options)
    return file.getvalue()


def difference(one: Pixels, other: Pixels) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def png_of(size: tuple[int, int], rows: bytes, depth: int = 8, colour: int = 2, before: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
