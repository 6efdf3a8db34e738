"""An object in storage as a file that can be read from anywhere in it, for readers such as `zipfile`."""

import errno
import io
import os
from typing import Final

from typing_extensions import Buffer

from shared.storage import Stat, Storage


class StoredFile(io.RawIOBase):
    """A file of which only the parts are fetched that are read: a request each, so put an `io.BufferedReader` around.

    Args:
        storage: where the object is.
        stat: of the object.

    Raises from `readinto`:
        MissingObjectError: it was deleted.
        PublicError: "storage_down".
    """

    #: bytes that are worth a request
    PIECE: Final = 64 * 1024

    def __init__(self, storage: Storage, stat: Stat) -> None:
        self._storage = storage
        self._stat = stat
        self._position = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, as `io.IOBase.seek`."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stat.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, "there is nothing before the beginning")  # which `zipfile` expects of a file
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Read from the present place on."""
        view = memoryview(buffer).cast("B")
        end = min(self._position + len(view), self._stat.size)
        if end <= self._position:
            return 0
        with self._storage.open(self._stat.key, (self._position, end - 1)) as blob:
            data = blob.read()
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
