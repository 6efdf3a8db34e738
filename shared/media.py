"""Which kinds of files are taken, and under which ending each is kept.

Object names in storage are our own (an id and one of these endings); a client's file name is never part of one.
"""

from typing import Final

#: image types that are taken, by content -> ending in storage
IMAGE_ENDINGS: Final[dict[str, str]] = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/x-portable-anymap": ".pnm",
}

#: the same for videos. Animated GIF, PNG and WebP have the type of a picture.
VIDEO_ENDINGS: Final[dict[str, str]] = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/3gpp": ".3gp",
    "video/x-matroska": ".mkv",
    "video/webm": ".webm",
    "video/x-msvideo": ".avi",
    "video/mpeg": ".mpg",
    "video/mp2t": ".ts",
    "video/x-ms-wmv": ".wmv",
    "video/x-flv": ".flv",
    "video/ogg": ".ogv",
    "video/x-ivf": ".ivf",
    "video/h264": ".h264",
    "video/h265": ".h265",
    "video/x-nut": ".nut",
    "application/mxf": ".mxf",
}
ENDINGS: Final = IMAGE_ENDINGS | VIDEO_ENDINGS

#: those that present browsers can show as they are, if they know the codec
SHOWN_BY_BROWSERS: Final = frozenset(
    {
        *("image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"),
        *("video/mp4", "video/webm", "video/quicktime", "video/ogg"),
    }
)
