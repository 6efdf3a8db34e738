"""Videos of bright squares on a dark floor, and a detector that finds them: what is in each frame is known."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

from worker.models.detections import Detections

Pixels = NDArray[np.uint8]
LABELS = ("square", "stripe")
FLOOR = 40
RATE = 48_000


def floor(width: int = 160, height: int = 120, shade: int = FLOOR) -> Pixels:
    return np.full((height, width, 3), shade, np.uint8)


def with_square(x: float, y: float, side: int = 24, width: int = 160, height: int = 120) -> Pixels:
    """A frame with a square whose upper left corner is at x, y; nothing of it where that is outside."""
    picture = floor(width, height)
    left, top = round(x), round(y)
    picture[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 230
    return picture


def walk(count: int, width: int = 160, height: int = 120) -> list[Pixels]:
    """A square that goes slowly from left to right, 2 pixels a frame, and a texture that differs in each frame."""
    frames = []
    for number in range(count):
        picture = with_square(10 + (2 * number) % (width - 50), 50, width=width, height=height)
        picture[:8, (5 * number) % width :] = 90
        picture[-8:] = 20 + number % 60
        frames.append(picture)
    return frames


def find_squares(pictures: list[Pixels]) -> list[Detections]:
    """Bright regions, as a model would tell them."""
    found = []
    for picture in pictures:
        bright = (picture.min(axis=2) > 150).astype(np.uint8)
        count, _, statistics, _ = cv2.connectedComponentsWithStats(bright)
        boxes = [
            (left, top, left + width, top + height)
            for left, top, width, height, area in statistics[1:count].tolist()
            if area > 60
        ]
        found.append(
            Detections(
                np.array(boxes, np.float32).reshape(-1, 4),
                np.full(len(boxes), 0.9, np.float32),
                np.zeros(len(boxes), np.int64),
                LABELS,
            )
        )
    return found


def write_video(
    path: Path,
    frames: Iterable[Pixels],
    *,
    times: Sequence[float] | None = None,
    fps: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: str | None = None,
    gop: int = 10,
) -> Path:
    """Write a video; with `times` (seconds) its frames come when they say, otherwise regularly.

    Args:
        sound: the codec of two channels with a tone, as long as the pictures.
    """
    with av.open(str(path), "w") as container:
        stream: VideoStream | None = None
        heard = container.add_stream(sound, rate=RATE, layout="stereo") if sound else None
        last = 0.0
        for number, picture in enumerate(frames):
            if stream is None:
                made = container.add_stream(codec, rate=fps, options=dict(options or {}))
                assert isinstance(made, VideoStream)
                stream = made
                stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], pix_fmt
                stream.codec_context.gop_size = gop
                if times is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[number] * 1000), Fraction(1, 1000)
                last = times[number]
            else:
                frame.pts, frame.time_base = number, Fraction(1, fps)
                last = number / fps
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
        if heard is not None:
            assert isinstance(heard, AudioStream)
            _write_tone(container, heard, last + 1 / fps)
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo")
        assert isinstance(stream, AudioStream)
        _write_tone(container, stream, seconds)
    return path


def _write_tone(container: av.container.OutputContainer, stream: AudioStream, seconds: float) -> None:
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format.name, "stereo", RATE)
    for start in range(0, int(seconds * RATE), size):
        wave = 0.2 * np.sin(np.arange(start, start + size) * 2 * np.pi * 440 / RATE)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = RATE, start
        for resampled in resampler.resample(frame):
            container.mux(stream.encode(resampled))
    container.mux(stream.encode(None))


def times_of(path: Path) -> list[float]:
    """When the frames of a video are shown."""
    with av.open(str(path)) as container:
        return [round(frame.time, 4) for frame in container.decode(video=0)]
