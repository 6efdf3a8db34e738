"""The upload of a video as FFmpeg reads it: piece by piece from storage, wherever that is."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.errors import BadInputError
from shared.jobs import JobRequest
from shared.storage import MissingObjectError, Storage
from shared.stored_file import StoredFile
from worker.videos.containers import VideoFile, prepare
from worker.videos.limits import VideoLimits

#: bytes that are fetched at a time: far more than FFmpeg asks for, since each fetch may be a request
_PIECE: Final = 1024 * 1024
#: FFmpeg cannot decode it: it is made into another file, and for that it must lie on a disk
_CONVERTED: Final = "image/webp"


@contextmanager
def open_upload(storage: Storage, job: JobRequest, folder: Path, limits: VideoLimits) -> Iterator[VideoFile]:
    """The video of a job.

    Args:
        storage: where it lies.
        job: whose input it is.
        folder: for what has to be on a disk.
        limits: what it may be.

    Raises:
        BadInputError: "input_gone", or from `prepare`.
        TransientError: storage is away; also out of whatever reads the file.
    """
    try:
        stat = storage.stat(job.input.key)
        if stat is None:
            raise MissingObjectError(job.input.key)
        if not is_read_in_pieces(job):
            path = folder / "upload"
            storage.get_file(job.input.key, path)
            yield prepare(path, folder, limits)
            return
        with io.BufferedReader(StoredFile(storage, stat), _PIECE) as file:
            yield file
    except MissingObjectError:
        raise BadInputError("input_gone", "The uploaded file is no longer there.") from None


def is_read_in_pieces(job: JobRequest) -> bool:
    """Whether a part can be decoded without reading all of the upload."""
    return job.input.content_type != _CONVERTED
