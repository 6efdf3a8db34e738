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

#: those that every present browser can show as they are
SHOWN_BY_BROWSERS: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"})
