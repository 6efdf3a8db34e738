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
    if head[4:8] == b"ftyp":
        return _iso_image(head)
    if head[:4] in (b"II+\0", b"MM\0+"):  # BigTIFF
        return "image/tiff"
    try:
        return _NAMES.get(puremagic.from_string(head, mime=True))
    except (puremagic.PureError, ValueError):
        return None


def _iso_image(head: bytes) -> str | None:
    """An image in an ISO base media file (ISO/IEC 14496-12), by the brands of its `ftyp` box.

    puremagic goes by the length of the box, and takes the photos of many phones for videos.
    """
    size = int.from_bytes(head[:4], "big")
    box = head[8 : min(size, HEAD_BYTES)]
    # the major brand, four bytes of its version, then the compatible brands
    brands = {box[:4], *(box[at : at + 4] for at in range(8, len(box) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "image/avif"
    if brands & {b"heic", b"heix", b"heim", b"heis", b"mif1"}:
        return "image/heic"
    return None
