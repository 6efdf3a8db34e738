"""The drawn video stays below a rate that real videos never come near, whatever is encoded."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from shared.videos import TICKS_PER_SECOND, VideoFacts
from tests.worker.videos.synthetic import Pixels
from worker.videos import encoding
from worker.videos.encoding import SegmentEncoder, most_bits

FPS = 25


@pytest.fixture(params=["libx264", "libvpx-vp9"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(encoding, "_ENCODERS", {name: encoding._ENCODERS[name]})
    return name


def _bits(pictures: Iterable[Pixels], path: Path) -> tuple[int, int]:
    """Bits of the drawn video, and what it may have a second."""
    pictures = list(pictures)
    height, width, _ = pictures[0].shape
    facts = VideoFacts(
        format="mov",
        codec="h264",
        pixel_format="yuv420p",
        width=width,
        height=height,
        rotation=0,
        fps=FPS,
        frames=len(pictures),
        duration=len(pictures) / FPS,
        stream=0,
        time_base=(1, FPS),
        origin=0,
    )
    step = TICKS_PER_SECOND // FPS
    with SegmentEncoder(path, facts, 1920, FPS) as encoder:
        for number, picture in enumerate(pictures):
            encoder.add(picture, number * step, step)
    with av.open(str(path)) as container:
        return sum(8 * packet.size for packet in container.demux(video=0)), most_bits(width, height, FPS)


@pytest.mark.usefixtures("codec")
def test_noise_is_kept_small(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pictures = (random.integers(0, 256, (360, 640, 3), np.uint8) for _ in range(2 * FPS))
    bits, most = _bits(pictures, tmp_path / "noise.mp4")
    assert bits < (2 + encoding._BUFFER_SECONDS) * most
    assert bits < 640 * 360 * 2 * FPS  # of which either codec would take more than two for each pixel


@pytest.mark.usefixtures("codec")
def test_a_real_video_does_not_come_near(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with av.open(str(data_dir / "videos/traffic.mp4")) as container:
        frames = islice(container.decode(video=0), FPS)
        pictures = [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in frames]
    bits, most = _bits(pictures, tmp_path / "limited.mp4")
    assert bits < most / 2
    monkeypatch.setattr(encoding, "most_bits", lambda *_: 0)  # which both take for no limit
    free, _ = _bits(pictures, tmp_path / "free.mp4")
    assert bits == pytest.approx(free, rel=0.1)
