"""The formats that are read, and those that are not."""

import io
from pathlib import Path

import numpy as np
import pytest

from tests.worker.images.pictures import decode, difference, encoded, photo, refusal
from worker.images import decode_image


@pytest.mark.parametrize(
    ("file_format", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
        ("PNG", {}, 0),
        ("PNG", {"interlace": 1}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 4),
        ("AVIF", {"quality": 95}, 4),
        ("HEIF", {"quality": 95}, 4),
        ("GIF", {}, 12),
    ],
)
def test_a_picture_comes_back(file_format: str, options: dict[str, object], tolerance: float) -> None:
    result = decode(encoded(photo(), file_format, **options))

    assert difference(result.pixels, photo()) <= tolerance
    assert result.pixels.dtype == np.uint8
    assert result.pixels.flags.c_contiguous
    assert (result.format, result.frames, result.notes) == (file_format, 1, ())


def test_bytes_path_and_file_give_the_same(tmp_path: Path) -> None:
    data = encoded(photo(), "PNG")
    path = tmp_path / "no-suffix"
    path.write_bytes(data)

    from_file = decode_image(io.BytesIO(data), max_pixels=10_000, max_aspect=10)

    assert np.array_equal(decode(data).pixels, decode(path).pixels)
    assert np.array_equal(decode(data).pixels, from_file.pixels)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_not_the_pictures_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "absent.jpg")


@pytest.mark.parametrize("file_format", ["ICO", "TGA", "PCX", "SGI", "JPEG2000", "DDS"])
def test_other_formats_are_not_even_tried(file_format: str) -> None:
    error = refusal(encoded(photo(64, 64), file_format))

    assert error.code == "bad_image"
    assert "JPEG, PNG" in error.message


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"%!PS"]
)
def test_what_is_no_picture(data: bytes) -> None:
    assert refusal(data).code == "bad_image"
