"""Files that would take all memory or time, and bytes that mean nothing."""

import os
import resource
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import BadInputError
from shared.settings import ROOT
from tests.worker.images.pictures import decode, encoded, photo, png_chunk, png_of, refusal
from worker.images import decoding


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
import sys
from pathlib import Path
from shared.errors import BadInputError
from worker.images import decode_image
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        pixels = decode_image(path, max_pixels=100_000_000, max_aspect=100).pixels
        assert pixels.dtype == "uint8" and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.flags.c_contiguous
        outcome = "ok"
    except BadInputError as error:
        outcome = error.code
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


def test_out_of_memory_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "_decode", no_memory)

    with pytest.raises(MemoryError):
        decode(encoded(photo(), "JPEG"))


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
