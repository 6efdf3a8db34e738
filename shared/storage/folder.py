"""A store in a folder: one file an object, written beside and moved into place.

Every path is walked segment by segment from an open folder, and no symbolic link is followed: nobody who can
plant one below the root leads us out of it.
"""

import errno
import fcntl
import logging
import os
import random
import secrets
import stat as stat_module
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from shared.errors import PublicError, TransientError
from shared.storage.base import (
    STALE,
    Blob,
    MissingObjectError,
    RangeError,
    Stat,
    Storage,
    Writer,
    check_range,
)
from shared.storage.names import check_content_type, check_key, check_prefix, content_type_of

log = logging.getLogger(__name__)

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: folder of the root where files are written before they have their name
_TEMPORARY: Final = ".tmp"

_CLOSED: Final = -1

_PATIENCE: Final = 2  # seconds to wait for a lock that nobody holds for longer than a moment

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}
#: not there: no such name, or something in its place that is no file or folder of ours
_MISSING: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR}


@contextmanager
def _public_errors(action: str) -> Iterator[None]:
    """Turns what the file system says into errors that anybody may see; the log has the details."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        if error.errno in _FULL:
            log.error("storage folder: cannot %s: %s", action, name)
            raise PublicError("storage_full", "The storage is full.") from error
        if error.errno in _FORBIDDEN:
            log.error("storage folder: cannot %s: %s: check its owner, mode and mount", action, name)
            raise PublicError("storage_down", "The storage is not set up correctly.") from error
        log.warning("storage folder: cannot %s: %s", action, name)
        raise TransientError("storage_down", "The storage cannot be reached.", retry_after=5) from error


class FolderStorage(Storage):
    """Objects in a folder. Files have mode 0600, folders 0700.

    Args:
        root: the folder; made by `prepare()`. It must be on one file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Makes the folder if it is missing, and removes stale temporary files."""
        with _public_errors("make the folder"):
            (self.root / _TEMPORARY).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sweep_temporary()

    def check(self) -> None:
        """Raises a `PublicError` if no file can be written now."""
        with _public_errors("write"), self.folder(_TEMPORARY) as folder:
            name = _temporary_name()
            file = os.open(name, _CREATE, 0o600, dir_fd=folder)
            try:
                os.write(file, b"ok")
            finally:
                os.close(file)
                os.unlink(name, dir_fd=folder)

    def writer(self, key: str, content_type: str | None = None) -> Writer:
        """A writer of an object."""
        return _FolderWriter(self, check_key(key), check_content_type(key, content_type))

    def open(self, key: str, byte_range: tuple[int, int | None] | None = None) -> Blob:
        """The object, to be read."""
        check_key(key)
        first, last = byte_range or (0, None)
        check_range(first, last)
        file = self._open_file(key)
        try:
            stat = _stat_of(key, os.fstat(file))
            if byte_range and first >= stat.size:
                raise RangeError(key, stat.size)
            length = min(stat.size, stat.size if last is None else last + 1) - first
            if first:
                os.lseek(file, first, os.SEEK_SET)
        except BaseException:
            os.close(file)
            raise

        def read(most: int) -> bytes:
            with _public_errors("read"):
                return os.read(file, most)

        return Blob(stat, first, length, read, lambda: os.close(file))

    def stat(self, key: str) -> Stat | None:
        """What is known of the object; None if there is none."""
        check_key(key)
        try:
            file = self._open_file(key)
        except MissingObjectError:
            return None
        try:
            return _stat_of(key, os.fstat(file))
        finally:
            os.close(file)

    def list(self, prefix: str) -> Iterator[Stat]:
        """The objects below a prefix, by key."""
        check_prefix(prefix)
        with _public_errors("list"):
            try:
                with self.folder(prefix.rstrip("/")) as folder:
                    yield from _walk(folder, prefix)
            except OSError as error:
                if not self._is_missing(error):
                    raise

    def delete(self, key: str) -> None:
        """Removes the object if it is there."""
        check_key(key)
        parent, _, name = key.rpartition("/")
        with _public_errors("delete"):
            try:
                with self.folder(parent) as folder:
                    os.unlink(name, dir_fd=folder)
            except OSError as error:
                if not self._is_missing(error):
                    raise
            self._remove_empty(parent)

    def delete_prefix(self, prefix: str) -> int:
        """Removes every object below a prefix that ends with a slash; returns how many."""
        if not prefix:
            raise ValueError("refusing to delete everything")
        check_prefix(prefix)
        with _public_errors("delete"):
            try:
                with self.folder(prefix[:-1]) as folder:
                    count = self._remove_all(folder)
            except OSError as error:
                if not self._is_missing(error):
                    raise
                return 0
            self._remove_empty(prefix[:-1])
        return count

    def link(self, key: str, *, filename: str, inline: bool) -> str | None:  # noqa: ARG002
        """None: a folder has no address."""
        check_key(key)
        return None

    def sweep_temporary(self, older_than: timedelta = STALE) -> int:
        """Removes what writers that died have left behind; returns how many."""
        limit = time.time() - older_than.total_seconds()
        count = 0
        with _public_errors("sweep"), self.folder(_TEMPORARY) as folder, os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat(follow_symlinks=False).st_mtime <= limit:
                        os.unlink(entry.name, dir_fd=folder)
                        count += 1
        return count

    def _open_file(self, key: str) -> int:
        parent, _, name = key.rpartition("/")
        with _public_errors("open"):
            try:
                with self.folder(parent) as folder:
                    file = os.open(name, _READ, dir_fd=folder)
            except OSError as error:
                if self._is_missing(error):
                    raise MissingObjectError(key) from None
                raise
        if not stat_module.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise MissingObjectError(key)
        return file

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder of the store, reached without following a link below the root."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for segment in filter(None, path.split("/")):
                try:
                    below = os.open(segment, _FOLDER, dir_fd=folder)
                except FileNotFoundError:
                    if not make:
                        raise
                    with suppress(FileExistsError):
                        os.mkdir(segment, 0o700, dir_fd=folder)
                    below = os.open(segment, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)

    def move_in(self, temporary: str, key: str) -> None:
        """Gives a finished file its key, for good: also if the power fails now."""
        parent, _, name = key.rpartition("/")
        with self._locked(fcntl.LOCK_SH) as source:
            is_new = not self._has_folder(parent)
            with self.folder(parent, make=True) as folder:
                os.replace(temporary, name, src_dir_fd=source, dst_dir_fd=folder)
        with suppress(FileNotFoundError):  # it has been deleted already
            while True:
                with self.folder(parent) as folder:
                    os.fsync(folder)
                if not parent or not is_new:  # whoever made the folder sees to those above it
                    return
                parent = parent.rpartition("/")[0]

    def _has_folder(self, path: str) -> bool:
        try:
            with self.folder(path):
                return True
        except FileNotFoundError:
            return False

    @contextmanager
    def _locked(self, how: int) -> Iterator[int]:
        """Keeps those who remove empty folders from those who are about to put something there.

        Advisory and held for microseconds. A process that was stopped in the middle must not stop the others:
        after a while we go on without, at the risk of a write that fails and is tried again.
        """
        with self.folder(_TEMPORARY) as temporary:
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(temporary, how | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(random.uniform(0, 0.002))  # noqa: S311 - no secret
                except OSError:  # a file system without locks
                    break
            yield temporary

    def _is_missing(self, error: OSError) -> bool:
        """Whether it says that the object is not there, rather than that the whole store is not (a lost mount)."""
        return error.errno in _MISSING and self.root.is_dir()

    def _remove_all(self, folder: int) -> int:
        count = 0
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_folder in found:
            with suppress(FileNotFoundError):  # somebody else was faster
                if not is_folder:
                    os.unlink(name, dir_fd=folder)
                    count += 1
                    continue
                below = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    count += self._remove_all(below)
                finally:
                    os.close(below)
                with suppress(OSError), self._locked(fcntl.LOCK_EX):  # or a writer has just put something new there
                    os.rmdir(name, dir_fd=folder)
        return count

    def _remove_empty(self, path: str) -> None:
        """Removes the folder and those above it, as long as they are empty. A writer makes its own again."""
        while path:
            parent, _, name = path.rpartition("/")
            try:
                with self._locked(fcntl.LOCK_EX), self.folder(parent) as folder:
                    os.rmdir(name, dir_fd=folder)
            except OSError:
                return
            path = parent


class _FolderWriter(Writer):
    def __init__(self, store: FolderStorage, key: str, content_type: str) -> None:
        super().__init__(key, content_type)
        self._store = store
        self._name = _temporary_name()
        with _public_errors("write"), store.folder(_TEMPORARY, make=True) as temporary:
            self._file = os.open(self._name, _CREATE, 0o600, dir_fd=temporary)

    def _write(self, data: memoryview) -> None:
        with _public_errors("write"):
            while data:
                data = data[os.write(self._file, data) :]

    def _commit(self) -> None:
        with _public_errors("write"):
            os.fsync(self._file)
            self._close()
            self._store.move_in(self._name, self.key)

    def _abort(self) -> None:
        with suppress(OSError):
            self._close()
        with suppress(OSError), self._store.folder(_TEMPORARY) as temporary:
            os.unlink(self._name, dir_fd=temporary)

    def _close(self) -> None:
        file, self._file = self._file, _CLOSED
        if file != _CLOSED:
            os.close(file)


def _temporary_name() -> str:
    return secrets.token_hex(16)


def _stat_of(key: str, found: os.stat_result) -> Stat:
    return Stat(
        key=key,
        size=found.st_size,
        content_type=content_type_of(key),
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
        etag=f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}",
    )


def _walk(folder: int, prefix: str) -> Iterator[Stat]:
    """The objects in the order S3 lists them: by the whole key, in which "a.jpg" is before "a/b.jpg"."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    found = [(name + "/" if is_folder else name, is_folder) for name, is_folder in found if name[0] != "."]
    for name, is_folder in sorted(found):
        with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile
            if is_folder:
                below = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(below, prefix + name)
                finally:
                    os.close(below)
            else:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat_module.S_ISREG(status.st_mode):
                    yield _stat_of(prefix + name, status)
