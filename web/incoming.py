"""Uploads as they come in: hashed, measured and typed while they stream to storage, never whole in memory.

Werkzeug's form parser hands every piece of a file to the stream that `StreamingRequest` gives it. That stream is
an `IncomingFile`, which writes to storage. What no view claims by the end of the request is deleted again.
"""

import hashlib
import logging
import time
from typing import IO, Final, cast

from flask import Request, g
from werkzeug.exceptions import HTTPException

from shared.errors import BadInputError, PublicError
from shared.jobs import InputFile, input_key, new_job_id
from shared.media import ENDINGS, VIDEO_ENDINGS
from shared.storage import MissingObjectError, Writer
from web.incoming_data import IncomingDataset
from web.moving import Moving
from web.services import services
from web.sniffing import HEAD_BYTES, sniff

log = logging.getLogger(__name__)

#: what is still read of a refused upload, so that the client sees the answer and not a broken connection
DRAIN_BYTES: Final = 64 * 1024 * 1024
DRAIN_SECONDS: Final = 5.0


class IncomingFile:
    """A write-only file that streams one upload to storage. How large it may be depends on what it turns out to be.

    Raises from `write` and `seek`:
        BadInputError: "too_large", "unsupported_type".
        PublicError: "storage_down", "storage_full".
    """

    def __init__(self, filename: str | None) -> None:
        self.filename = filename or "unnamed"
        self.job_id = new_job_id()
        self.claimed = False
        #: whether it is the input of a job already
        self.is_taken = False
        self._services = services()
        self._hash = hashlib.sha256()
        self._size = 0
        self._head = b""
        self._type = ""
        self._moving: Moving | None = None
        self._known_video = False
        self._writer: Writer | None = None
        self._finished: InputFile | None = None

    def write(self, data: bytes) -> int:
        """Take the next piece."""
        self._size += len(data)
        self._hash.update(data)
        if self._writer is not None:
            if self._moving is not None:
                self._moving.feed(data)
            self._check_size()
            self._writer.write(data)
        else:
            self._head += data
            if len(self._head) >= HEAD_BYTES:
                self._begin()
        return len(data)

    @property
    def is_video(self) -> bool:
        """Whether it is a video, or a picture of several frames, by what has come of it."""
        return self._known_video or self._type in VIDEO_ENDINGS or (self._moving is not None and self._moving.found)

    def _check_size(self) -> None:
        settings = self._services.settings
        most = settings.max_video_mb if self.is_video else settings.max_upload_mb
        if self._size > most * 1024 * 1024:
            raise BadInputError("too_large", f"{self.filename!r} is larger than the {most} MB that are allowed.")

    def seek(self, _offset: int, _whence: int = 0) -> int:
        """The parser rewinds a file when its last byte has come: the object is complete."""
        if self._writer is None:
            self._begin()
        writer = cast(Writer, self._writer)
        writer.commit()
        self._finished = InputFile(
            key=self._key,
            filename=self.filename,
            content_type=self._type,
            bytes=self._size,
            sha256=self._hash.hexdigest(),
        )
        return 0

    def close(self) -> None:
        """Nothing to do: `discard` and `claim` decide what becomes of the object."""

    @classmethod
    def stored(cls, file: InputFile, *, is_video: bool) -> "IncomingFile":
        """The input of an earlier job, which stays that job's."""
        found = cls(file.filename)
        found.is_taken = True
        found._finished, found._known_video = file, is_video
        return found

    def for_job(self) -> "IncomingFile":
        """The input of one more job: the file as it came for the first, a copy for each other.

        So each job's can be deleted without the others'.

        Raises:
            PublicError: "input_gone", "storage_down", "storage_full".
        """
        if self.is_taken:
            return self.copy()
        self.is_taken = True
        return self

    def copy(self) -> "IncomingFile":
        """The same file once more. Errors are those of `for_job`."""
        complete = self.complete
        other = IncomingFile(self.filename)
        g.setdefault("incoming", []).append(other)  # deleted at the end of the request, unless it becomes a job's
        key = input_key(other.job_id, ENDINGS[complete.content_type])
        storage = self._services.storage
        try:
            with storage.open(complete.key) as blob, storage.writer(key, complete.content_type) as writer:
                for piece in blob:
                    writer.write(piece)
                    time.sleep(0)  # others have their turn: of a file in a folder nothing else lets them
        except MissingObjectError:
            raise PublicError("input_gone", "The uploaded file is no longer there.") from None
        other._known_video = self.is_video
        other._finished = complete.model_copy(update={"key": key})
        return other

    def claim(self) -> InputFile:
        """Say that the object belongs to a job now."""
        if self._finished is None:
            raise BadInputError("bad_request", f"The upload of {self.filename!r} is not complete.")
        self.claimed = True
        return self._finished

    @property
    def complete(self) -> InputFile:
        """What came. Raises `BadInputError` if it is not all there."""
        if self._finished is None:
            raise BadInputError("bad_request", f"The upload of {self.filename!r} is not complete.")
        return self._finished

    def discard(self) -> None:
        """Delete what was stored."""
        try:
            if self._finished is not None:
                self._services.storage.delete(self._finished.key)
            elif self._writer is not None:
                self._writer.abort()
        except PublicError as error:
            log.warning("an upload that nobody wants stays behind: %s", error)

    def _begin(self) -> None:
        kind = sniff(self._head)
        if kind is None:
            raise BadInputError(
                "unsupported_type",
                f"{self.filename!r} is not an image or video of a kind that is taken: "
                + ", ".join(name.partition("/")[2].removeprefix("x-") for name in ENDINGS),
            )
        self._type = kind
        self._moving = Moving.of(kind)
        if self._moving is not None:
            self._moving.feed(self._head)
        self._check_size()
        self._key = input_key(self.job_id, ENDINGS[kind])
        self._writer = self._services.storage.writer(self._key, kind)
        self._writer.write(self._head)
        self._head = b""


class StreamingRequest(Request):
    """A request whose files go straight to storage."""

    def _get_file_stream(
        self,
        total_content_length: int | None,  # noqa: ARG002
        content_type: str | None,  # noqa: ARG002
        filename: str | None = None,
        content_length: int | None = None,  # noqa: ARG002
    ) -> IO[bytes]:
        files: list[IncomingFile | IncomingDataset] = g.setdefault("incoming", [])
        if self.endpoint == "trainings.create" and not files:
            files.append(IncomingDataset(filename))
            return cast(IO[bytes], files[-1])
        if self.endpoint != "uploads.upload":
            raise BadInputError("bad_request", "No file is taken here.")
        limit = services().settings.max_files
        if len(files) >= limit:
            raise BadInputError("too_large", f"One request may bring {limit} files at most.")
        files.append(IncomingFile(filename))
        return cast(IO[bytes], files[-1])


def discard_unclaimed(_error: BaseException | None = None) -> None:
    """Delete what came with the request and belongs to no job."""
    for file in g.pop("incoming", []):
        if not file.claimed:
            file.discard()


def drain_body(request: Request) -> None:
    """Read what a refused client still sends, within limits.

    Closing a socket with unread bytes makes the kernel reset the connection, and the client never sees the answer.
    """
    end = time.monotonic() + DRAIN_SECONDS
    left = DRAIN_BYTES
    stream = request.environ["wsgi.input"]
    if request.content_length is None and not request.environ.get("wsgi.input_terminated"):
        return
    try:
        while left > 0 and time.monotonic() < end:
            piece = stream.read(min(left, 64 * 1024))
            if not piece:
                return
            left -= len(piece)
    except (OSError, ValueError, HTTPException, PublicError):
        return
