"""Where files are kept: a folder, or S3 and what speaks like it. Nothing else talks to either.

    storage = open_storage(get_settings())
    with storage.writer("results/x/annotated.jpg") as writer:
        writer.write(data)
    with storage.open("results/x/annotated.jpg") as blob:
        for chunk in blob: ...

Any of it may raise `PublicError`: `storage_down` (a `TransientError` if trying again makes sense, else the
bucket or folder is set up wrongly and the log says how) or `storage_full`.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from shared.settings import Settings
from shared.storage.base import (
    CHUNK,
    Blob,
    MissingObjectError,
    RangeError,
    Stat,
    Storage,
    Writer,
)
from shared.storage.names import content_disposition, content_type_of

__all__ = [
    "CHUNK",
    "Blob",
    "MissingObjectError",
    "RangeError",
    "Stat",
    "Storage",
    "Writer",
    "content_disposition",
    "content_type_of",
    "open_storage",
]


def open_storage(settings: Settings) -> Storage:
    """The store that `STORAGE_URL` names. Connects to nothing yet: that is `prepare()`.

    Raises:
        ValueError: the URL is neither `file:///folder` nor `s3://bucket[/prefix]`.
    """
    url = urlsplit(settings.storage)
    if url.query or url.fragment:
        raise ValueError("STORAGE_URL has a '?' or '#' part")
    if url.scheme == "file" and url.netloc in ("", "localhost") and url.path.strip("/"):
        from shared.storage.folder import FolderStorage

        return FolderStorage(Path(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        from shared.storage.s3 import S3Storage  # boto3 costs nearly 30 MB: only for those who use it

        return S3Storage(
            url.netloc,
            url.path.strip("/"),
            endpoint_url=settings.s3_endpoint_url,
            public_endpoint_url=settings.s3_public_endpoint_url,
            region=settings.s3_region,
            links=settings.s3_presigned_links,
            link_ttl=settings.s3_presign_ttl,
        )
    raise ValueError("STORAGE_URL must be file:///folder or s3://bucket/prefix")
