"""Files with more than one picture."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.images.pictures import decode, difference, encoded, photo
from worker.images import frames as counting


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_of_several_frames(file_format: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]

    result = decode(encoded(frames[0], file_format, save_all=True, append_images=frames[1:]))

    assert difference(result.pixels, np.full((30, 40, 3), (255, 0, 0), np.uint8)) < 3
    assert result.frames == 3
    noun = "pages" if file_format == "TIFF" else "frames"
    assert result.notes == (f"Only the first of 3 {noun} was looked at.",)


def test_frames_are_not_counted_for_ever() -> None:
    gif = encoded(Image.new("P", (8, 8)), "GIF")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    gifs = gif[:-1] + frame * 1_500_000 + b";"
    pages = b"".join(struct.pack("<HI", 0, 14 + 6 * page) for page in range(1_000_000))
    tiff = encoded(Image.new("L", (8, 8)), "TIFF")
    link = len(tiff)
    (first,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, first)
    at = first + 2 + 12 * entries
    shifted = b"".join(struct.pack("<HI", 0, link + 6 * (page + 1)) for page in range(len(pages) // 6))
    tiffs = tiff[:at] + struct.pack("<I", link) + tiff[at + 4 :] + shifted

    many = decode(gifs), decode(tiffs)

    assert [result.frames for result in many] == [counting.MAX_FRAMES_COUNTED] * 2
    assert counting._gif_frames(gifs) == counting._tiff_pages(tiffs) == counting.MAX_FRAMES_COUNTED
    assert "more than 10000 frames" in many[0].notes[0]


def test_pages_in_a_circle() -> None:
    tiff = bytearray(encoded(photo(), "TIFF"))
    (first,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, first)
    struct.pack_into("<I", tiff, first + 2 + 12 * entries, first)

    assert decode(bytes(tiff)).frames == 1


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        *(("iss634.gif", 42), ("iss634.webp", 42), ("iss634.apng", 41), ("dispose_bgnd_rgba.gif", 5)),
        *(("total-pages-zero.tif", 3), ("hopper.gif", 1), ("frozenpond.mpo", 2), ("sugarshack_bad_mpo_header.jpg", 1)),
    ],
)
def test_frames_of_real_files(data_dir: Path, name: str, frames: int) -> None:
    result = decode(data_dir / "odd" / "images" / name)

    assert result.frames == frames
    assert len(result.notes) == (frames > 1)
