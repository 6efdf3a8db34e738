"""Folders on this machine's disk for the files that a job makes, gone with the job, however it ends.

They lie where the system has its temporary files (`TMPDIR`). A process that is killed leaves its folder; it is locked
no longer, and the next process that starts takes it away.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared.errors import BadInputError, PublicError

#: what is raised when a disk is full
FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_PREFIX: Final = "dropsight-work-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder that is deleted at the end.

    Raises:
        BadInputError: "too_large": the disk is full, mostly with what lies in the folder. To wait for room is in vain.
        PublicError: "storage_full": the disk is full with something else.
    """
    folder, lock = _locked_folder()
    try:
        yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        taken = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if taken > shutil.disk_usage(folder).total / 2:
            raise BadInputError("too_large", "This file makes more than fits on the disk of a worker.") from error
        raise PublicError("storage_full", "The worker has no room left for the files of this job.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_scratch() -> int:
    """Delete the folders of processes that are no more. Returns how many."""
    swept = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # in use
        else:
            shutil.rmtree(folder, ignore_errors=True)
            swept += 1
        finally:
            os.close(lock)
    return swept


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():  # else somebody has swept it before it was locked
            return folder, lock
        os.close(lock)
