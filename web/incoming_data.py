"""Data sets as they come in: zip files, hashed and measured while they stream to storage, and each kept once."""

import hashlib
import logging
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError

from shared.errors import BadInputError, PublicError
from shared.jobs import new_job_id
from shared.storage import MissingObjectError, Storage, Writer
from shared.trainings import StoredDataset, dataset_document, dataset_key
from web.services import services

log = logging.getLogger(__name__)

#: how a zip file begins, one without entries too
_SIGNATURES: Final = (b"PK\x03\x04", b"PK\x05\x06")


class IncomingDataset:
    """A write-only file that streams one zip file to storage.

    Raises from `write` and `seek`:
        BadInputError: "too_large", "unsupported_type".
        PublicError: "storage_down", "storage_full".
    """

    def __init__(self, filename: str | None) -> None:
        self.filename = filename or "data.zip"
        self.claimed = False
        self._services = services()
        self._hash = hashlib.sha256()
        self._size = 0
        self._head = b""
        self._key = dataset_key(new_job_id())
        self._writer: Writer | None = None
        self._complete = False

    def write(self, data: bytes) -> int:
        """Take the next piece."""
        settings = self._services.settings
        self._size += len(data)
        if self._size > settings.max_dataset_bytes:
            raise BadInputError(
                "too_large", f"{self.filename!r} is larger than the {settings.max_dataset_mb} MB that are allowed."
            )
        self._hash.update(data)
        if self._writer is None:
            self._head += data
            if len(self._head) >= len(_SIGNATURES[0]):
                self._begin()
        else:
            self._writer.write(data)
        return len(data)

    def seek(self, _offset: int, _whence: int = 0) -> int:
        """The parser rewinds a file when its last byte has come: the object is complete."""
        writer = self._writer or self._begin()
        writer.commit()
        self._complete = True
        return 0

    def close(self) -> None:
        """Nothing to do: `discard` and `claim` decide what becomes of the object."""

    def claim(self) -> StoredDataset:
        """The data set that it is from now on: one with the same bytes, if there is one."""
        if not self._complete:
            raise BadInputError("bad_request", f"The upload of {self.filename!r} is not complete.")
        storage, sha256 = self._services.storage, self._hash.hexdigest()
        known = find_uploaded(storage, sha256)
        if known is not None:
            return known  # and this copy is discarded
        data = StoredDataset(
            name=sha256, key=self._key, filename=self.filename, bytes=self._size, created_at=datetime.now(UTC)
        )
        storage.put(dataset_document(sha256), data.model_dump_json().encode())
        self.claimed = True
        return data

    def discard(self) -> None:
        """Delete what was stored."""
        try:
            if self._complete:
                self._services.storage.delete(self._key)
            elif self._writer is not None:
                self._writer.abort()
        except PublicError as error:
            log.warning("a data set that nobody wants stays behind: %s", error)

    def _begin(self) -> Writer:
        if not self._head.startswith(_SIGNATURES):
            raise BadInputError("unsupported_type", f"{self.filename!r} is no zip file.")
        self._writer = self._services.storage.writer(self._key)
        self._writer.write(self._head)
        self._head = b""
        return self._writer


def find_uploaded(storage: Storage, sha256: str) -> StoredDataset | None:
    """The uploaded data set with these bytes."""
    try:
        data = StoredDataset.model_validate_json(storage.get(dataset_document(sha256)))
    except (MissingObjectError, ValidationError):
        return None
    return data if storage.stat(data.key) is not None else None
