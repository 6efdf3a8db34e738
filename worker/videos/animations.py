"""Animated WebP, which FFmpeg cannot decode, made into a file that it can: lossless, with the same times."""

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, ImageSequence, UnidentifiedImageError

from shared.errors import BadInputError
from worker.videos.limits import VideoLimits

_MILLISECOND: Final = Fraction(1, 1000)
#: browsers show a frame that says 10 ms or less for so long
_SHORT: Final = 10
_SHOWN_FOR: Final = 100


def is_webp(head: bytes) -> bool:
    """By the first 12 bytes of a file."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def convert_webp(file: Path, path: Path, limits: VideoLimits) -> None:
    """Write an animated WebP as a Matroska file (FFV1); what is transparent becomes white.

    Args:
        file: the WebP.
        path: the file to write; its name ends in `.mkv`.
        limits: what the animation may be.

    Raises:
        BadInputError: `bad_video`: broken, or a still picture; `too_long`, `too_many_pixels` or `bad_aspect`.
    """
    try:
        with Image.open(file, formats=["WEBP"]) as image:
            limits.check_size(*image.size)
            frames = int(getattr(image, "n_frames", 1))
            limits.check_length(frames, 0)
            limits.check_work(frames * image.width * image.height)
            if frames > 1:
                _write(image, path)
                return
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, EOFError, ValueError) as error:
        raise BadInputError("bad_video", "The animation is damaged: it cannot be decoded.") from error
    raise BadInputError("bad_video", "This is a still picture.")


def _write(image: Image.Image, path: Path) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        assert isinstance(stream, VideoStream)  # noqa: S101 -- by its name
        stream.width, stream.height = image.size
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = _MILLISECOND
        now = 0
        for picture in ImageSequence.Iterator(image):
            rgba = picture.convert("RGBA")
            white = Image.new("RGBA", rgba.size, "white")
            white.alpha_composite(rgba)
            frame = VideoFrame.from_ndarray(np.asarray(white.convert("RGB")), format="rgb24")
            frame.pts, frame.time_base = now, _MILLISECOND
            shown = int(picture.info.get("duration", 0))
            shown = shown if shown > _SHORT else _SHOWN_FOR
            now += shown
            for packet in stream.encode(frame):
                packet.duration = shown
                container.mux(packet)
        container.mux(stream.encode(None))
