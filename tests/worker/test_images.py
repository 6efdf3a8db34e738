"""Decoding, over files made here and over every picture of the reference data.

Expectations come from a second way of computing the same: Pillow alone, numpy, or the picture that was encoded.
"""

import io
import os
import resource
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from shared.errors import BadInputError
from worker import images
from worker.images import DecodedImage, decode_image

Pixels = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[2]


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


# -- formats


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


# -- frames


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

    start = time.perf_counter()
    many = decode(gifs), decode(tiffs)

    assert time.perf_counter() - start < 3
    assert [result.frames for result in many] == [images.MAX_FRAMES_COUNTED] * 2
    assert images._gif_frames(gifs) == images._tiff_pages(tiffs) == images.MAX_FRAMES_COUNTED
    assert "more than 10000 frames" in many[0].notes[0]


def test_pages_in_a_circle() -> None:
    tiff = bytearray(encoded(photo(), "TIFF"))
    (first,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, first)
    struct.pack_into("<I", tiff, first + 2 + 12 * entries, first)

    assert decode(bytes(tiff)).frames == 1


# -- colours


def test_cmyk_becomes_what_ink_would_show() -> None:
    ink = np.zeros((50, 60, 4), np.uint8)
    ink[..., 0] = np.arange(60) * 4
    ink[..., 1] = (np.arange(50) * 5)[:, None]
    ink[..., 3] = 60
    paper = 1 - ink.astype(float) / 255
    expected = np.rint(255 * paper[..., :3] * paper[..., 3:]).astype(np.uint8)
    cmyk = Image.frombytes("CMYK", (60, 50), ink.tobytes())

    for data in (encoded(cmyk, "TIFF"), encoded(cmyk, "JPEG", quality=98)):
        assert difference(decode(data).pixels, expected) < 3


def test_real_cmyk_files_look_like_their_rgb_twin(data_dir: Path) -> None:
    folder = data_dir / "odd" / "images"
    rgb = decode(folder / "pil_sample_rgb.jpg").pixels

    for name in (
        *("pil_sample_cmyk.jpg", "tiff_strip_cmyk_jpeg.tif"),
        *("tiff_tiled_cmyk_jpeg.tif", "tiff_strip_cmyk_16l_jpeg.tif"),
    ):
        assert difference(decode(folder / name).pixels, rgb) < 6, name


GRADIENT = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (16, 1))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey_are_scaled(file_format: str) -> None:
    result = decode(encoded(Image.fromarray(GRADIENT), file_format))

    assert np.abs(result.pixels[0, :, 1].astype(int) - np.arange(256)).max() <= 1
    assert (result.pixels == result.pixels[..., :1]).all()
    assert result.notes == ()


def test_sixteen_bits_of_colour_are_scaled() -> None:
    rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in GRADIENT)
    data = png_of((256, 16), rows, depth=16, colour=2)

    assert np.abs(decode(data).pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1


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


def test_unused_upper_bits_are_made_visible_and_told() -> None:
    result = decode(encoded(Image.fromarray((GRADIENT // 16).astype(np.uint16)), "TIFF"))

    assert np.abs(result.pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    assert result.notes == ("Its brightest value is 4095 of 65535; it was brightened to be seen.",)


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        ((0, 0.5, 1), (0, 128, 255), False),
        ((0, 100, 255), (0, 100, 255), False),
        ((-1000, 0, 1000), (0, 128, 255), True),
        ((0, float("nan"), float("inf")), (0, 0, 0), False),
        ((-3e38, 0, 3e38), (0, 128, 255), True),
        ((7e4, 7e4, 7e4), (0, 0, 0), True),
    ],
)
def test_floats(values: tuple[float, ...], expected: tuple[int, ...], told: bool) -> None:
    data = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")

    result = decode(data)

    assert result.pixels[0, :, 0].tolist() == pytest.approx(list(expected), abs=1)
    assert bool(result.notes) == told


def test_one_bit_and_grey() -> None:
    bits = Image.fromarray(np.eye(32, dtype=np.uint8) * 255).convert("1")

    for file_format in ("PNG", "TIFF", "BMP", "PPM"):
        assert np.array_equal(decode(encoded(bits, file_format)).pixels[..., 0], np.eye(32) * 255), file_format


def test_what_is_transparent_lies_on_white() -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[..., 0], rgba[:, 10:, 3], rgba[:, 20:, 3] = 200, 128, 255

    for file_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        pixels = decode(encoded(rgba, file_format, **options)).pixels
        assert tuple(pixels[5, 5]) == (255, 255, 255), file_format
        assert pixels[5, 15].tolist() == pytest.approx([227, 127, 127], abs=1), file_format
        assert tuple(pixels[5, 25]) == (200, 0, 0), file_format


def test_transparent_palette_and_grey() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.putpixel((0, 0), 0)
    grey = Image.new("LA", (4, 4), (0, 255))
    grey.putpixel((0, 0), (0, 0))

    for data in (
        encoded(palette, "PNG", transparency=0),
        encoded(palette, "GIF", transparency=0),
        encoded(grey, "PNG"),
    ):
        pixels = decode(data).pixels
        assert tuple(pixels[0, 0]) == (255, 255, 255)
        assert pixels[3, 3].max() < 10


def test_a_fully_transparent_picture_is_not_a_white_one() -> None:
    rgba = np.dstack((photo(), np.zeros((64, 96), np.uint8)))

    result = decode(encoded(rgba, "PNG"))

    assert difference(result.pixels, photo()) == 0
    assert "transparent" in result.notes[0]


# -- colour profiles


def wide_profile() -> bytes:
    """sRGB's curve with red and blue swapped: a profile whose effect cannot be missed."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace(b"s\0R\0G\0B", b"x\0R\0G\0B").replace("sRGB".encode("utf-16-be"), b"\0w\0i\0d\0e")


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_is_applied(file_format: str) -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))

    plain = decode(encoded(red, file_format, quality=95))
    managed = decode(encoded(red, file_format, quality=95, icc_profile=wide_profile()))

    assert plain.pixels[9, 9].tolist() == pytest.approx([255, 0, 0], abs=3)
    assert managed.pixels[9, 9].tolist() == pytest.approx([0, 0, 255], abs=3)
    assert managed.notes == ()


def test_srgb_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    plain, managed = (decode(encoded(photo(), "JPEG", icc_profile=icc)) for icc in (None, profile))

    assert np.array_equal(plain.pixels, managed.pixels)


@pytest.mark.parametrize(
    "profile",
    [b"x", b"garbage" * 100, wide_profile()[:200], wide_profile().replace(b"RGB ", b"CMYK", 1)],
    ids=["short", "garbage", "cut", "wrong-space"],
)
def test_a_bad_profile_is_left_out_and_told(profile: bytes) -> None:
    result = decode(encoded(photo(), "PNG", icc_profile=profile))

    assert difference(result.pixels, photo()) == 0
    assert "profile" in result.notes[0]


def test_a_huge_profile_is_not_read() -> None:
    result = decode(encoded(photo(), "WEBP", lossless=True, icc_profile=wide_profile() + bytes(5_000_000)))

    assert difference(result.pixels, photo()) == 0
    assert "profile" in result.notes[0]


# -- orientation

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


# -- limits


def test_the_limits_are_exact() -> None:
    data = encoded(photo(100, 50), "PNG")

    assert decode(data, max_pixels=5000).pixels.shape == (50, 100, 3)
    assert refusal(data, max_pixels=4999).code == "too_many_pixels"
    assert decode(data, max_aspect=2).pixels.shape == (50, 100, 3)
    error = refusal(encoded(photo(101, 50), "PNG"), max_aspect=2)
    assert error.code == "bad_aspect"
    assert "101 x 50" in error.message


def test_a_side_no_jpeg_can_have() -> None:
    assert refusal(encoded(Image.new("1", (65_501, 700)), "PNG")).code == "too_many_pixels"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "HEIF", "AVIF"])
def test_too_many_pixels_are_known_before_decoding(file_format: str) -> None:
    data = encoded(Image.new("RGB", (1500, 1400)), file_format)

    tracemalloc.start()
    error = refusal(data, max_pixels=2_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert error.code == "too_many_pixels"
    assert peak < 1_000_000 + 2 * len(data)


def test_larger_than_pillows_own_limit_is_ours_to_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)

    assert decode(encoded(photo(), "GIF")).pixels.shape == (64, 96, 3)
    assert Image.MAX_IMAGE_PIXELS == 100_000_000


def test_a_jpeg_painted_over_and_over() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]

    assert "scans" in refusal(data[:-2] + scan * images.MAX_JPEG_SCANS + b"\xff\xd9").message


BOMBS = {
    "decompression_bomb.gif": "too_many_pixels",
    "decompression_bomb.ico": "bad_image",
    "png_decompression_dos.png": "bad_image",
    "zero_width.gif": "bad_image",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "bad_image",
    "crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif": "bad_image",
    "crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif": "bad_image",
    "crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif": "bad_image",
    "crash-1185209cf7655b5aed8ae5e77784dfdd18ab59e9.tif": "bad_image",
    "crash-2020-10-test.tif": "bad_image",
    "crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif": "bad_image",
    "crash-4f085cc12ece8cde18758d42608bed6a2a2cfb1c.tif": "bad_image",
    "crash-63b1dffefc8c075ddc606c0a2f5fdc15ece78863.tif": "bad_image",
    "crash-86214e58da443d2b80820cff9677a38a33dcbbca.tif": "bad_image",
    "crash-f46f5b2f43c370fe65706c11449f567ecc345e74.tif": "bad_image",
    "broken.png": "bad_image",
    "broken_data_stream.png": "bad_image",
    "truncated_end_chunk.png": "bad_image",
    "truncated_image.png": "bad_image",
    "truncated_jpeg.jpg": "bad_image",
}


def test_every_odd_picture_in_bounded_memory(data_dir: Path) -> None:
    """In a process that cannot have more memory, as what these files once did was to take all of it."""
    program = """
import sys, time
from pathlib import Path
from shared.errors import BadInputError
from worker.images import decode_image
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.perf_counter()
    try:
        pixels = decode_image(path, max_pixels=100_000_000, max_aspect=100).pixels
        assert pixels.dtype == "uint8" and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.flags.c_contiguous
        outcome = "ok"
    except BadInputError as error:
        outcome = error.code
    assert time.perf_counter() - start < 5, path
    print(path.name, outcome)
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))

    folder = data_dir / "odd" / "images"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert outcomes == {path.name: BOMBS.get(path.name, "ok") for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["truncated_jpeg.jpg", "truncated_end_chunk.png", "truncated_image.png"])
def test_a_cut_file_is_called_so(data_dir: Path, name: str) -> None:
    assert "cut short" in refusal(data_dir / "odd" / "images" / name).message


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


def test_real_16_bit_colour_equals_its_8_bit_twin(data_dir: Path) -> None:
    folder = data_dir / "odd" / "images"
    target = decode(folder / "tiff_16bit_RGB_target.png").pixels

    for name in ("tiff_16bit_RGB.tiff", "tiff_strip_planar_16bit_RGB.tiff", "tiff_tiled_planar_16bit_RGB.tiff"):
        assert difference(decode(folder / name).pixels, target) < 1, name


# -- JPEGs: OpenCV decodes, but must be no more lenient than Pillow


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
            images._check_jpeg(path.read_bytes())


def test_a_cut_jpeg_is_refused_wherever_it_is_cut(data_dir: Path) -> None:
    data = (data_dir / "photos" / "dog.jpg").read_bytes()
    progressive = encoded(photo(), "JPEG", progressive=True)
    thumbnailed = encoded(photo(), "JPEG", exif=b"Exif\0\0" + encoded(photo(16, 16), "JPEG"))

    for whole in (data, progressive, thumbnailed):
        for end in (*range(20, len(whole) - 2, max(1, len(whole) // 40)), len(whole) - 2, len(whole) - 1):
            assert refusal(whole[:end]).code == "bad_image"
        assert decode(whole + b"trailing \xff\xd9 bytes").format == "JPEG"


def test_out_of_memory_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "_decode", no_memory)

    with pytest.raises(MemoryError):
        decode(encoded(photo(), "JPEG"))


# -- hostile bytes


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=12),
    cut=st.integers(0, 10_000),
)
@example(changes=[(0, b"")], cut=0)
def test_mutated_pictures_decode_or_are_refused(file_format: str, changes: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(encoded(photo(32, 24), file_format))
    for at, replacement in changes:
        place = at % len(data)
        data[place : place + len(replacement)] = replacement
    if cut % 4 == 1:
        del data[cut % len(data) :]
    try:
        pixels = decode(bytes(data), max_pixels=100_000).pixels
    except BadInputError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    assert refusal(data).code == "bad_image"


def test_threads_decode_side_by_side_and_leave_warnings_alone() -> None:
    # an APNG whose count of frames is wrong makes Pillow warn
    strange = png_of((2, 1), b"\0" + bytes(6), before=png_chunk(b"acTL", bytes(8)))
    errors: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(30):
                decode(strange)
        except Exception as error:  # noqa: BLE001 -- shown by the assertion below
            errors.append(error)

    before = len(warnings.filters)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(warnings.filters) <= before + 1
    with pytest.raises(UserWarning, match="still heard"):
        warnings.warn("still heard", stacklevel=1)
