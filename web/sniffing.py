"""The type of a file by its first bytes. Its name and what the client says of it do not count."""

from typing import Final

import puremagic

#: puremagic's names -> ours
_NAMES: Final = {
    "image/jpeg": "image/jpeg",
    "image/png": "image/png",
    "image/apng": "image/png",
    "image/gif": "image/gif",
    "image/webp": "image/webp",
    "image/x-ms-bmp": "image/bmp",
    "image/bmp": "image/bmp",
    "image/tiff": "image/tiff",
    "image/avif": "image/avif",
    "image/heic": "image/heic",
    "image/heif": "image/heic",
    "image/x-portable-bitmap": "image/x-portable-anymap",
    "image/x-portable-graymap": "image/x-portable-anymap",
    "image/x-portable-pixmap": "image/x-portable-anymap",
}

#: bytes that are enough to tell
HEAD_BYTES: Final = 4096


def sniff(head: bytes) -> str | None:
    """The media type, one of `shared.media.IMAGE_ENDINGS`, or None for what is not taken."""
    if not head:
        return None
    try:
        return _NAMES.get(puremagic.from_string(head, mime=True))
    except (puremagic.PureError, ValueError):
        return None
