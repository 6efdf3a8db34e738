"""The drawn frames of one part, encoded into a file of its own that can be joined to others by packet.

H.264 by x264, which every browser plays; a PyAV that was built without it gets VP9 (docs/videos.md says why). All
parts of a video are encoded with the same settings and without frames that refer forward, so that a packet's place in
the file is its place in time: joining them is adding an offset.
"""

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import cv2
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from shared.videos import TICKS_PER_SECOND, VideoFacts
from worker.pixels import Pixels

#: encoder -> its settings, the best first
_ENCODERS: Final = {
    "libx264": {"preset": "superfast", "crf": "26", "bf": "0"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32", "lag-in-frames": "0", "auto-alt-ref": "0"},
}
#: seconds between two keyframes, to which a browser can jump
_KEYFRAME_SECONDS: Final = 2
#: bits a second at most, for each pixel: so many for each frame a second, and so many more, for keyframes. No real
#: video comes near (docs/videos.md); one of noise would take five times as much and fill the disk
_MOST_BITS_OF_FRAME: Final = 0.4
_MOST_BITS_OF_SECOND: Final = 2.0
#: what is smaller may have as much as this: it needs more for each pixel, and is small anyway
_FEWEST_PIXELS: Final = 640 * 360
#: seconds over which that holds on average
_BUFFER_SECONDS: Final = 2
_BT709: Final = 1
_LIMITED_RANGE: Final = 1


def encoder() -> str:
    """FFmpeg's name of the encoder that is used."""
    return next(name for name in _ENCODERS if name in av.codecs_available)


def output_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height of the drawn video: `max_side` at most, and even, as half the colours in 4:2:0 need.

    A side is rounded up where nothing is scaled: a row or column is added, none lost.
    """
    scale = min(1.0, max_side / max(width, height))
    if scale == 1.0:
        return width + width % 2, height + height % 2
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def most_bits(width: int, height: int, fps: float) -> int:
    """Bits a second that the drawn video has at most."""
    return round(max(width * height, _FEWEST_PIXELS) * (_MOST_BITS_OF_FRAME * fps + _MOST_BITS_OF_SECOND))


class SegmentEncoder:
    """Writes `video.mp4` of one part; its first frame is at time 0.

    Args:
        path: the file to write.
        facts: of the original.
        max_side: longest side of the drawn video.
        fps: frames that come a second, on average.
    """

    def __init__(self, path: Path, facts: VideoFacts, max_side: int, fps: float) -> None:
        self._size = output_size(facts.width, facts.height, max_side)
        self._reformatter = VideoReformatter()
        # what is not scaled needs no filter but the one for half the colours
        is_smaller = max(self._size) < max(facts.width, facts.height)
        self._interpolation = Interpolation.AREA if is_smaller else Interpolation.FAST_BILINEAR
        self._pending: Packet[VideoStream] | None = None
        self._first: int | None = None
        self._duration = 1
        self._container = av.open(str(path), "w", format="mp4")
        name = encoder()
        rate = Fraction(fps).limit_denominator(1001)
        most = most_bits(*self._size, fps)
        options = _ENCODERS[name] | {"maxrate": str(most), "bufsize": str(_BUFFER_SECONDS * most)}
        stream = self._container.add_stream(name, rate=rate, options=options)
        assert isinstance(stream, VideoStream)  # noqa: S101 -- by the names of the encoders
        self._stream = stream
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, TICKS_PER_SECOND)
        context.gop_size = max(1, min(300, round(fps * _KEYFRAME_SECONDS)))
        context.thread_count = 1  # its output depends on it, and parts are done side by side anyway
        context.sample_aspect_ratio = Fraction(*facts.sample_aspect)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED_RANGE
        if name == "libvpx-vp9":
            context.bit_rate = most  # constant quality, as long as that is enough for it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._container.close()

    def add(self, pixels: Pixels, ticks: int, duration: int) -> None:
        """Encode a frame.

        Args:
            pixels: of the original's size, RGB.
            ticks: when it is shown; each later than the one before.
            duration: for how long, in ticks, if it turns out to be the last one. Others last until the next.
        """
        self._duration = duration
        if self._first is None:
            self._first = ticks
        width, height = self._size
        right, below = width - pixels.shape[1], height - pixels.shape[0]
        if right in (0, 1) and below in (0, 1) and right + below:
            pixels = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(pixels, format="rgb24"),
            width,
            height,
            "yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range="MPEG",
            interpolation=self._interpolation,
        )
        frame.pts = ticks - self._first
        frame.time_base = Fraction(1, TICKS_PER_SECOND)
        for packet in self._stream.encode(frame):
            self._take(packet)

    def _take(self, packet: "Packet[VideoStream]") -> None:
        """Write the packet before: it lasts until this one."""
        if self._pending is not None and self._pending.pts is not None and packet.pts is not None:
            self._write(self._pending, packet.pts - self._pending.pts)
        self._pending = packet

    def _write(self, packet: "Packet[VideoStream]", duration: int) -> None:
        packet.duration = duration
        self._container.mux(packet)

    def _flush(self) -> None:
        if self._first is None:
            return
        for packet in self._stream.encode(None):
            self._take(packet)
        if self._pending is not None:
            self._write(self._pending, self._duration)
