"""JPEGs: OpenCV decodes, but must be no more lenient than Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.worker.images.pictures import decode, difference, encoded, photo, refusal
from worker.images import jpeg


def all_jpegs(data_dir: Path) -> list[Path]:
    folders = (data_dir / "photos", data_dir / "odd" / "images", data_dir / "odd" / "exif")
    return [path for folder in folders for path in sorted(folder.glob("*.jpg"))]


def test_photos_are_what_pillow_sees(data_dir: Path) -> None:
    managed = []
    for path in sorted((data_dir / "photos").iterdir()):
        with Image.open(path) as image:
            as_stored = np.asarray(image.convert("RGB"))
        pixels = decode(path).pixels
        if not np.array_equal(pixels, as_stored):
            managed.append(path.name)
            assert 1 < difference(pixels, as_stored) < 30
    assert managed == ["3132016470_c27baa00e8_z.jpg", "3627527276_6fe8cd9bfe_z.jpg", "bus.jpg"]  # not in sRGB


def test_whole_jpegs_are_whole(data_dir: Path) -> None:
    for path in all_jpegs(data_dir):
        if path.name != "truncated_jpeg.jpg":
            jpeg.check_jpeg(path.read_bytes())


def test_a_cut_jpeg_is_refused_wherever_it_is_cut(data_dir: Path) -> None:
    data = (data_dir / "photos" / "dog.jpg").read_bytes()
    progressive = encoded(photo(), "JPEG", progressive=True)
    thumbnailed = encoded(photo(), "JPEG", exif=b"Exif\0\0" + encoded(photo(16, 16), "JPEG"))

    for whole in (data, progressive, thumbnailed):
        for end in (*range(20, len(whole) - 2, max(1, len(whole) // 40)), len(whole) - 2, len(whole) - 1):
            assert refusal(whole[:end]).code == "bad_image"
        assert decode(whole + b"trailing \xff\xd9 bytes").format == "JPEG"


def test_a_jpeg_painted_over_and_over() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]

    assert "scans" in refusal(data[:-2] + scan * jpeg.MAX_JPEG_SCANS + b"\xff\xd9").message
