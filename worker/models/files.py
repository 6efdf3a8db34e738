"""What every family reads of a model's files."""

import hashlib
from pathlib import Path

from shared.entries import WeightFile
from shared.labels import read_labels
from worker.models.errors import ModelFileError


def load_labels(path: Path) -> tuple[str, ...]:
    """The class names in a file.

    Raises:
        ModelFileError: it is not a list of names.
        OSError: it cannot be read.
    """
    try:
        return read_labels(path)
    except ValueError as error:
        raise ModelFileError(str(error)) from None


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_sha256(path: Path, stated: WeightFile) -> str:
    """The sha256 of a model's file.

    Raises:
        ModelFileError: the catalogue states another.
        OSError: it cannot be read.
    """
    sha256 = file_sha256(path)
    if stated.sha256 not in {None, sha256}:
        raise ModelFileError(f"{path.name} has another sha256 than the catalogue says")
    return sha256
