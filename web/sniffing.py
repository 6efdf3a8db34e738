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

#: what nearly all photos begin with: puremagic's whole list is long, and Python
_PHOTOS: Final = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}

#: what videos begin with
_VIDEOS: Final = {
    b"\x00\x00\x01\xba": "video/mpeg",
    b"\x00\x00\x01\xb3": "video/mpeg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "video/x-ms-wmv",
    b"FLV\x01": "video/x-flv",
    b"OggS\x00": "video/ogg",
    b"DKIF": "video/x-ivf",
    b"nut/multimedia": "video/x-nut",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01": "application/mxf",
    b"\x00\x00\x00\x01\x67": "video/h264",
    b"\x00\x00\x00\x01\x09": "video/h264",
    b"\x00\x00\x00\x01\x40\x01": "video/h265",
    b"\x00\x00\x00\x01\x46\x01": "video/h265",
}
#: boxes with which QuickTime files begin that are older than `ftyp`
_OLD_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
#: lengths of an MPEG transport stream's packets, and where in each its sign is
_TRANSPORTS: Final = ((188, 0), (192, 4), (204, 0))

#: bytes that are enough to tell
HEAD_BYTES: Final = 4096


def sniff(head: bytes) -> str | None:
    """The media type, one of `shared.media.ENDINGS`, or None for what is not taken."""
    if not head:
        return None
    if (photo := _begins(head, _PHOTOS)) is not None:
        return photo
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _iso(head)
    if head[:4] in (b"II+\0", b"MM\0+"):  # BigTIFF
        return "image/tiff"
    if (video := _video(head)) is not None:
        return video
    try:
        return _NAMES.get(puremagic.from_string(head, mime=True))
    except (puremagic.PureError, ValueError):
        return None


def _begins(head: bytes, kinds: dict[bytes, str]) -> str | None:
    return next((kind for sign, kind in kinds.items() if head.startswith(sign)), None)


def _iso(head: bytes) -> str | None:
    """What an ISO base media file is (ISO/IEC 14496-12), by the brands of its `ftyp` box.

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
    if box[:4] == b"crx ":  # a raw photo
        return None
    if box[:4] == b"qt  ":
        return "video/quicktime"
    return "video/3gpp" if box[:2] == b"3g" else "video/mp4"


def _video(head: bytes) -> str | None:
    """The type of a video that is no ISO base media file. Whether there are pictures in it, the worker finds out."""
    if (video := _begins(head, _VIDEOS)) is not None:
        return video
    if head.startswith(b"\x1a\x45\xdf\xa3"):  # EBML; its header names the kind
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "video/x-msvideo"
    if head[4:8] in _OLD_BOXES:
        return "video/quicktime"
    for length, at in _TRANSPORTS:
        signs = head[at::length]
        if len(signs) >= 3 and signs == b"\x47" * len(signs):
            return "video/mp2t"
    return None
