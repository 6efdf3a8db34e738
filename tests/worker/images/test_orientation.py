"""Pictures come out upright, whatever their EXIF says and however broken it is."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.images.pictures import Pixels, decode, difference, encoded, photo

TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(
    ("file_format", "tolerance"), [("JPEG", 3), ("PNG", 0), ("WEBP", 4), ("TIFF", 0), ("AVIF", 5), ("HEIF", 5)]
)
def test_orientation_is_applied_once(file_format: str, tolerance: float, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNED[orientation](photo()))

    result = decode(encoded(stored, file_format, exif=exif.tobytes(), quality=95))

    assert difference(result.pixels, photo()) <= tolerance
    assert result.pixels.flags.c_contiguous


@pytest.mark.parametrize("which", ["Landscape", "Portrait"])
def test_the_published_orientations_are_one_picture(data_dir: Path, which: str) -> None:
    pictures = [decode(data_dir / "odd" / "exif" / f"{which}_{number}.jpg").pixels for number in range(9)]

    assert {picture.shape for picture in pictures} == {(1200, 1800, 3) if which == "Landscape" else (1800, 1200, 3)}
    assert max(difference(picture, pictures[1]) for picture in pictures) < 5


@pytest.mark.parametrize("name", ["exif_imagemagick_orientation.png", "xmp_tags_orientation_exiftool.png"])
def test_orientation_hidden_in_png_text(data_dir: Path, name: str) -> None:
    path = data_dir / "odd" / "images" / name
    with Image.open(path) as image:
        as_stored = image.convert("RGB")

    assert difference(decode(path).pixels, np.asarray(as_stored)) > 1


def test_broken_exif_never_fails_a_picture() -> None:
    plain = decode(encoded(photo(), "JPEG")).pixels
    for exif in (
        b"Exif\0\0",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40),
        b"x" * 999,
    ):
        data = encoded(photo(), "JPEG")
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
        assert np.array_equal(decode(data).pixels, plain)
