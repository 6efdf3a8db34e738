"""The rules for names that hold on every store: of objects, and of files as a browser gets them."""

import re
from typing import Final
from urllib.parse import quote

_SEGMENT: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_KEY: Final = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_LONGEST_KEY: Final = 800  # S3 takes 1024 bytes, with the prefix of the store

#: The type of an object is the one its name says, on every store. Nothing here can run in a browser.
_TYPES: Final = {
    ".3gp": "video/3gpp",
    ".avi": "video/x-msvideo",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".csv": "text/csv",
    ".flv": "video/x-flv",
    ".gif": "image/gif",
    ".h264": "video/h264",
    ".h265": "video/h265",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ivf": "video/x-ivf",
    ".jp2": "image/jp2",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".mp4": "video/mp4",
    ".mpg": "video/mpeg",
    ".mpo": "image/mpo",
    ".mxf": "application/mxf",
    ".nut": "video/x-nut",
    ".ogv": "video/ogg",
    ".png": "image/png",
    ".pnm": "image/x-portable-anymap",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".ts": "video/mp2t",
    ".txt": "text/plain",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".wmv": "video/x-ms-wmv",
    ".zip": "application/zip",
}
_UNKNOWN_TYPE: Final = "application/octet-stream"


def check_key(key: str) -> str:
    """`key` itself.

    Raises:
        ValueError: it is not segments of letters, digits, `.`, `_`, `-` with slashes between; or a segment
            begins with a dot (so there is no `..`, and no clash with a store's own files).
    """
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"not a key: {key[:100]!r}")
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` itself: whole segments up to a slash, or empty for everything.

    Raises:
        ValueError: it is something else.
    """
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"a prefix ends with a slash: {prefix[:100]!r}")
    if prefix:
        check_key(prefix[:-1])
    return prefix


def content_type_of(key: str) -> str:
    """The media type that goes with the name; `application/octet-stream` if none does."""
    name = key.rpartition("/")[2]
    return _TYPES.get(name[name.rfind(".") :].lower(), _UNKNOWN_TYPE) if "." in name else _UNKNOWN_TYPE


def check_content_type(key: str, content_type: str | None) -> str:
    """The type to store under `key`.

    Raises:
        ValueError: `content_type` is not the one that the name says.
    """
    named = content_type_of(key)
    if content_type not in (None, named):
        raise ValueError(f"{key!r} names {named}, not {content_type}")
    return named


def content_disposition(filename: str, *, inline: bool) -> str:
    """The header that gives a download its name: any name, made harmless (RFC 6266).

    Args:
        filename: as the user had it; folders and control characters are dropped.
        inline: show it instead of saving it.
    """
    kind = "inline" if inline else "attachment"
    name = re.split(r"[/\\]", filename)[-1]
    name = "".join(char for char in name if char.isprintable()).strip(" .")[-150:] or "file"
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", name)
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
