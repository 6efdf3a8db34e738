"""Opening files of strangers with FFmpeg (PyAV).

FFmpeg takes far more for a video than anybody uploads, and some of it is dangerous: a playlist or a concat script names
other files and URLs, which it would open. Only containers that hold their own pictures are on the list.
"""

from pathlib import Path
from typing import BinaryIO, Final

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from shared.errors import BadInputError
from worker.videos.animations import convert_webp, is_webp
from worker.videos.limits import VideoLimits

#: a file that lies here, or one that can be read and sought (an object in storage, read by ranges)
VideoFile = Path | BinaryIO

#: FFmpeg's names of the containers that are taken
FORMATS: Final = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "m4v"),
    *("asf", "flv", "ogg", "mxf", "ivf", "obu", "dv", "nut", "h264", "hevc", "gif", "apng"),
)


def open_input(file: VideoFile) -> InputContainer:
    """Open a video.

    Raises:
        BadInputError: `bad_video`: it is not one of `FORMATS`, or its header is broken.
    """
    if not isinstance(file, Path):
        file.seek(0)
    try:
        return av.open(
            str(file) if isinstance(file, Path) else file,
            mode="r",
            options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file", "max_streams": "64"},
            metadata_errors="replace",
        )
    except (MemoryError, FileNotFoundError, PermissionError):
        raise
    except av.FFmpegError as error:
        raise BadInputError("bad_video", "This is not a video that can be read.") from error


def pictures_of(container: InputContainer) -> list[VideoStream]:
    """The video streams; a cover or a thumbnail is none."""
    still = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & still]


def has_decoder(stream: Stream) -> bool:
    """Whether FFmpeg knows the codec of a stream; of one that it does not PyAV has no context, against its types."""
    return getattr(stream, "codec_context", None) is not None


def prepare(file: Path, folder: Path, limits: VideoLimits) -> Path:
    """The file to work with: the same, or one in `folder` that FFmpeg can decode.

    Raises:
        BadInputError: an animated WebP is broken or beyond the limits.
    """
    with file.open("rb") as opened:
        if not is_webp(opened.read(12)):
            return file
    converted = folder / "animation.mkv"
    convert_webp(file, converted, limits)
    return converted
