"""What every store can do."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from shared.errors import TransientError

#: bytes a `Blob` gives at a time
CHUNK: Final = 256 * 1024

#: objects that `put_many` writes at a time, in all of a process
MOST_AT_ONCE: Final = 8

#: Temporary files older than this belong to nobody alive.
STALE: Final = timedelta(days=1)


class MissingObjectError(LookupError):
    """There is no object of that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key!r}")
        self.key = key


class RangeError(ValueError):
    """The range begins behind the end of the object; `size` is what there is."""

    def __init__(self, key: str, size: int) -> None:
        super().__init__(f"{key!r} has only {size} bytes")
        self.key = key
        self.size = size


@dataclass(frozen=True, slots=True)
class Stat:
    """What is known of an object without reading it.

    Attributes:
        key: its name in the store.
        size: in bytes.
        content_type: media type.
        modified: when it appeared; aware, UTC.
        etag: changes when the content does; without quotes.
    """

    key: str
    size: int
    content_type: str
    modified: datetime
    etag: str


def check_range(first: int, last: int | None) -> None:
    """Refuses what is no range.

    Raises:
        ValueError: `first` is negative or behind `last`.
    """
    if first < 0 or (last is not None and last < first):
        raise ValueError(f"not a range: {first}-{last}")


class Blob:
    """An object being read: iterate over its chunks, or `read()` it whole. A context manager.

    Args:
        stat: of the whole object.
        first: offset of the first byte that is given.
        length: number of bytes that are given.
        read: gives up to n bytes, none at the end; raises public errors only.
        close: releases what `read` holds.
    """

    def __init__(
        self, stat: Stat, first: int, length: int, read: Callable[[int], bytes], close: Callable[[], None]
    ) -> None:
        self.stat = stat
        self.first = first
        self.length = length
        self._left = length
        self._read = read
        self._close = close
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while self._left:
            yield self._take(CHUNK)

    def read(self) -> bytes:
        """All that is left."""
        return b"".join(self)

    def close(self) -> None:
        """Lets go of the file or connection; may be called twice."""
        if self._open:
            self._open = False
            self._close()

    def _take(self, most: int) -> bytes:
        if not self._open:
            raise ValueError("read of a closed blob")
        chunk = self._read(min(most, self._left))
        if not chunk:
            raise TransientError("storage_down", "The storage broke off in the middle of a file.")
        self._left -= len(chunk)
        return chunk


class Writer(ABC):
    """An object being written. It appears whole with `commit()`, or never.

    As a context manager it commits at the end of the block, and aborts if the block raises.

    Attributes:
        key: its name in the store.
        content_type: its media type.
        size: bytes written up to now.
    """

    def __init__(self, key: str, content_type: str) -> None:
        self.key = key
        self.content_type = content_type
        self.size = 0
        self._state: Literal["open", "committed", "aborted"] = "open"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._state == "open":
            self.commit()
        else:
            self.abort()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Adds `data`; returns its length. A failure aborts the whole object."""
        self._check_open()
        view = memoryview(data).cast("B")
        try:
            self._write(view)
        except BaseException:
            self.abort()
            raise
        self.size += view.nbytes
        return view.nbytes

    def commit(self) -> None:
        """Makes the object appear, in place of an older one of that key. A failure aborts it."""
        self._check_open()
        try:
            self._commit()
        except BaseException:
            self.abort()
            raise
        self._state = "committed"

    def abort(self) -> None:
        """Forgets what was written; does nothing after the end. Never raises for a store that is away."""
        if self._state == "open":
            self._state = "aborted"
            self._abort()

    def _check_open(self) -> None:
        if self._state != "open":
            raise ValueError(f"the writer of {self.key!r} is {self._state}")

    @abstractmethod
    def _write(self, data: memoryview) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _abort(self) -> None: ...


@lru_cache(maxsize=1)
def _pool(_pid: int) -> ThreadPoolExecutor:
    """The threads of this process, kept: to start two takes as long as to write two small files."""
    return ThreadPoolExecutor(MOST_AT_ONCE, "storage")


class Storage(ABC):
    """Named objects. Safe to share between threads and greenlets, and over a fork.

    Keys are segments of letters, digits, `.`, `_`, `-` with slashes between, none beginning with a dot. The
    content type of an object follows from the extension of its key.
    """

    @abstractmethod
    def prepare(self) -> None:
        """Makes the folder or bucket if it is missing, and removes stale temporary files."""

    @abstractmethod
    def check(self) -> None:
        """Raises a `PublicError` if the store cannot be used now. Cheap; takes about 2 s at most."""

    @abstractmethod
    def writer(self, key: str, content_type: str | None = None) -> Writer:
        """A writer of an object.

        Raises:
            ValueError: a bad key, or `content_type` is not the one that goes with it.
        """

    def put(self, key: str, data: bytes, content_type: str | None = None) -> None:
        """Writes a whole object."""
        with self.writer(key, content_type) as writer:
            writer.write(data)

    def put_file(self, key: str, path: Path) -> None:
        """Writes an object as large as it likes, from a file on this machine."""
        with path.open("rb") as file, self.writer(key) as writer:
            while piece := file.read(CHUNK):
                writer.write(piece)

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        """Writes several whole objects at once: what each waits for (a disk, a server) they wait for together.

        Raises the first failure, after all others have ended; those that were written stay. Nothing is written any
        more either once a signal's exception has come out of here.
        """
        if len(objects) < 2:
            for key, data in objects:
                self.put(key, data)
            return
        pool = _pool(os.getpid())
        writes = [pool.submit(self.put, key, data) for key, data in objects]
        try:
            wait(writes)
        finally:  # an exception of a signal may end the waiting
            wait([write for write in writes if not write.cancel()])
        for write in writes:
            write.result()

    @abstractmethod
    def open(self, key: str, byte_range: tuple[int, int | None] | None = None) -> Blob:
        """The object, to be read.

        Args:
            key: its name.
            byte_range: first and last offset as in HTTP (the last included; absent: to the end).

        Raises:
            MissingObjectError: there is none.
            RangeError: the range begins behind its end.
        """

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            MissingObjectError: there is none.
        """
        with self.open(key) as blob:
            return blob.read()

    def get_file(self, key: str, path: Path) -> None:
        """Writes the whole object into a file on this machine, in place of what was there.

        Raises:
            MissingObjectError: there is none.
        """
        with self.open(key) as blob, path.open("wb") as file:
            for piece in blob:
                file.write(piece)

    @abstractmethod
    def stat(self, key: str) -> Stat | None:
        """What is known of the object; None if there is none."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Stat]:
        """The objects below a prefix, by key.

        Args:
            prefix: ends with a slash, or is empty for everything.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Removes the object if it is there."""

    @abstractmethod
    def delete_prefix(self, prefix: str) -> int:
        """Removes every object below a prefix that ends with a slash; returns how many."""

    @abstractmethod
    def link(self, key: str, *, filename: str, inline: bool) -> str | None:
        """An address that a browser may read the object from for a while; None: stream it yourself.

        Args:
            key: its name; need not exist.
            filename: what the browser calls it.
            inline: show it instead of saving it.
        """

    @abstractmethod
    def sweep_temporary(self, older_than: timedelta = STALE) -> int:
        """Removes what writers that died have left behind; returns how many."""
