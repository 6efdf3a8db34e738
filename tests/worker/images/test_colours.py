"""Inks, bits, transparency and profiles become the RGB that a person would see."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.worker.images.pictures import decode, difference, encoded, photo, png_of


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


def test_real_16_bit_colour_equals_its_8_bit_twin(data_dir: Path) -> None:
    folder = data_dir / "odd" / "images"
    target = decode(folder / "tiff_16bit_RGB_target.png").pixels

    for name in ("tiff_16bit_RGB.tiff", "tiff_strip_planar_16bit_RGB.tiff", "tiff_tiled_planar_16bit_RGB.tiff"):
        assert difference(decode(folder / name).pixels, target) < 1, name


# -- profiles


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
