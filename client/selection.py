"""Which files of the given paths are sent."""

import mimetypes
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: endings that `mimetypes` does not know, or by another name than the service
_ENDINGS: Final = {
    ".jfif": "image/jpeg",
    ".apng": "image/png",
    ".dib": "image/bmp",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".heic": "image/heic",
    ".heif": "image/heic",
    ".hif": "image/heic",
    ".pbm": "image/x-portable-anymap",
    ".pgm": "image/x-portable-anymap",
    ".ppm": "image/x-portable-anymap",
    ".pnm": "image/x-portable-anymap",
    ".m4v": "video/mp4",
    ".mkv": "video/x-matroska",
    ".3gp": "video/3gpp",
    ".wmv": "video/x-ms-wmv",
    ".asf": "video/x-ms-wmv",
    ".ts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".mts": "video/mp2t",
    ".flv": "video/x-flv",
    ".ogv": "video/ogg",
    ".ivf": "video/x-ivf",
    ".h264": "video/h264",
    ".h265": "video/h265",
    ".nut": "video/x-nut",
    ".mxf": "application/mxf",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """The files that are sent, and why others are not.

    Attributes:
        files: in the order of the arguments; of a folder sorted by path; each once.
        left_out: of folders: what is of no type that is taken.
        problems: sentences about paths that cannot be used.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def select(paths: Iterable[Path], types: Collection[str]) -> Selection:
    """Find the files: those named, whatever they are, and of folders those of a type that is taken, by their ending.

    What a file is, the server finds out by its content; but there is no sense in sending it every note of a folder.

    Args:
        paths: files and folders.
        types: media types that are taken.
    """
    chosen = Selection()
    known = mimetypes.MimeTypes()  # without those of this system, so that it is the same everywhere
    seen: set[Path] = set()

    def add(path: Path) -> None:
        real = path.resolve()
        if real not in seen:
            seen.add(real)
            chosen.files.append(path)

    for path in paths:
        if path.is_dir():
            for file in _files_below(path, chosen.problems):
                if _type_of(file, known) in types and file.is_file() and not file.name.startswith("."):
                    add(file)
                else:
                    chosen.left_out.append(file)
        elif path.exists():
            add(path)
        else:
            chosen.problems.append(f"{path}: there is no such file or folder.")
    return chosen


def _type_of(path: Path, known: mimetypes.MimeTypes) -> str | None:
    ending = path.suffix.lower()
    return _ENDINGS.get(ending) or known.guess_type(f"x{ending}", strict=False)[0]


def _files_below(folder: Path, problems: list[str]) -> Iterable[Path]:
    def unreadable(error: OSError) -> None:
        problems.append(f"{error.filename}: {error.strerror}.")

    # links to folders are not followed: they may lead in circles
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            yield Path(parent) / name
