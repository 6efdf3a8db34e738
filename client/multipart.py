"""An upload's body (RFC 7578), read from the file while it is sent: memory does not grow with the file."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from client.errors import UnreadableFileError

#: bytes that are read and sent at a time
CHUNK: Final = 64 * 1024


class MultipartFile:
    """The body of a form with text fields and one file, in the field `file`.

    `requests` streams it, with a Content-Length: it has a length and can be iterated over, once.

    Args:
        path: the file. It is sent as long as it is now.
        fields: text fields, which come before it.
        on_sent: told after each piece how many bytes of the file were taken. What it raises ends the upload.

    Raises:
        UnreadableFileError: the file cannot be opened, is none, or changes while it is read.
    """

    def __init__(self, path: Path, fields: Mapping[str, str], on_sent: Callable[[int], None] | None = None) -> None:
        self._path = path
        self._on_sent = on_sent
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        ]
        head.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(path.name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"  # the server looks for itself
        )
        self._head = "".join(head).encode("utf-8", "replace")
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file = self._open()
        self._size = os.fstat(self._file.fileno()).st_size

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        sent = 0
        while sent < self._size:
            piece = self._read(min(CHUNK, self._size - sent))
            sent += len(piece)
            yield piece
            if self._on_sent is not None:
                self._on_sent(sent)
        yield self._tail

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        if self._path.exists() and not self._path.is_file():  # a pipe would be waited for
            raise UnreadableFileError(f"{self._path} is not a file.")
        try:
            return self._path.open("rb")
        except OSError as error:
            raise UnreadableFileError(f"{self._path} cannot be read: {error.strerror or error}.") from error

    def _read(self, size: int) -> bytes:
        try:
            piece = self._file.read(size)
        except OSError as error:  # as it is, it would be taken for one of the connection, and tried again
            raise UnreadableFileError(f"{self._path} cannot be read: {error.strerror or error}.") from error
        if not piece:
            raise UnreadableFileError(f"{self._path} became shorter while it was sent.")
        return piece


def _quoted(name: str) -> str:
    """As browsers write names into a form (the WHATWG HTML standard): nothing in them ends the header."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
