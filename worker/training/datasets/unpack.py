"""An uploaded zip file unpacked, as if somebody meant harm: nothing outside the folder, nothing without end."""

import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from worker.training.datasets.errors import DatasetError

CHUNK: Final = 1 << 20
MAX_NAME: Final = 255
MAX_DEPTH: Final = 16
ENCRYPTED: Final = 0x1
#: stored and deflated are all that zip programs write unasked; the others can be made to take very long
METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What a zip file may hold at most.

    Args:
        entries: files and folders.
        total_bytes: of all files, unpacked.
        ratio: unpacked against packed, over the whole file; images hardly shrink.
    """

    entries: int = 100_000
    total_bytes: int = 8 << 30
    ratio: float = 100.0


def unpack(archive: Path, folder: Path, limits: UnpackLimits | None = None) -> None:
    """Unpack a zip file.

    Sizes are counted while unpacking, not believed. If it is refused half-way, `folder` is removed again.

    Args:
        archive: the zip file.
        folder: where to; must not be there yet.
        limits: None: the defaults.

    Raises:
        DatasetError: it is broken, encrypted or too large; or an entry is a link, no plain file, there twice, or has a
            name that leads out of the folder.
        FileExistsError: the folder is there.
    """
    limits = limits or UnpackLimits()
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            _unpack_all(opened, folder, limits, archive.stat().st_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DatasetError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise DatasetError("the zip file is broken") from error


def _unpack_all(opened: zipfile.ZipFile, folder: Path, limits: UnpackLimits, packed: int) -> None:
    entries = opened.infolist()
    if len(entries) > limits.entries:
        raise DatasetError(f"the zip file has more than {limits.entries} entries")
    most = min(limits.total_bytes, int(max(packed, 1) * limits.ratio))
    if sum(entry.file_size for entry in entries) > most:
        raise _too_large(limits)
    # on some file systems names that differ in case only are one file
    names: set[str] = set()
    left = most
    for entry in entries:
        path = _checked_path(entry)
        key = path.as_posix().casefold()
        if entry.is_dir():
            (folder / path).mkdir(parents=True, exist_ok=True)
            continue
        if key in names:
            raise DatasetError(f"the zip file has {_shown(entry)} twice")
        names.add(key)
        left -= _unpack_one(opened, entry, folder / path, left, limits)


def _unpack_one(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int, limits: UnpackLimits) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > left:
                raise _too_large(limits)
            file.write(chunk)
    return written


def _checked_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        what = "a link" if kind == stat.S_IFLNK else "no plain file"
        raise DatasetError(f"the zip file's entry {_shown(entry)} is {what}")
    if entry.flag_bits & ENCRYPTED:
        raise DatasetError("the zip file is encrypted")
    if entry.compress_type not in METHODS:
        raise DatasetError(f"the zip file's entry {_shown(entry)} is packed in a way that is not supported")
    # orig_filename is what the file says; zipfile cuts `filename` at a NUL
    name = entry.orig_filename
    path = PurePosixPath(name)
    bad = (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or any(mark in name for mark in ("\\", ":", "\0"))
        or any(len(part.encode(errors="replace")) > MAX_NAME for part in path.parts)
        or len(path.parts) > MAX_DEPTH
        or any(ord(letter) < 32 for letter in name)
    )
    if bad:
        raise DatasetError(f"the zip file's entry {_shown(entry)} has a name that is not allowed")
    return path


def _shown(entry: zipfile.ZipInfo) -> str:
    return ascii(entry.orig_filename[:80])


def _too_large(limits: UnpackLimits) -> DatasetError:
    return DatasetError(
        f"unpacked, the zip file is larger than {limits.total_bytes >> 20} MB or {limits.ratio:g} times its own size"
    )
