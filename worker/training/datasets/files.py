"""Finding images and small text files in a data set's folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base as ExifTag

from worker.training.datasets.description import MAX_SIDE, Split
from worker.training.datasets.errors import DatasetError

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
#: of one text file: far more than any list of images or boxes takes
MAX_TEXT: Final = 1 << 24
#: names of folders and files that say which part of the data is there
SPLIT_NAMES: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def is_image(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def find_files(root: Path, suffixes: Iterable[str]) -> list[Path]:
    """All files below `root` with one of these suffixes, sorted; hidden ones and those of macOS' archiver are not."""
    wanted = frozenset(suffixes)
    found = (path for path in root.rglob("*") if path.suffix.lower() in wanted and path.is_file())
    return sorted(path for path in found if not is_hidden(path.relative_to(root)))


def is_hidden(path: Path) -> bool:
    """Whether any part begins with a dot, or is the folder that macOS puts into zip files."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def split_of(path: Path) -> Split | None:
    """The part of the data that a folder on the way to a file names, the last one if there are several."""
    named = (SPLIT_NAMES[part.lower()] for part in reversed(path.parts[:-1]) if part.lower() in SPLIT_NAMES)
    return next(named, None)


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        DatasetError: it is missing, too long, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT + 1)
    except OSError:
        raise DatasetError(f"{path.name} is missing or cannot be read") from None
    if len(data) > MAX_TEXT:
        raise DatasetError(f"{path.name} is longer than {MAX_TEXT >> 20} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{path.name} is not UTF-8 text") from None


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image, turned as its EXIF data says, from the file's head alone.

    Raises:
        DatasetError: it is missing, no image, or too large.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTag.Orientation, 1) in {5, 6, 7, 8}
    except FileNotFoundError:
        raise DatasetError("the image is missing") from None
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        raise DatasetError("the image cannot be read") from None
    if max(height, width) > MAX_SIDE:
        raise DatasetError(f"the image has more than {MAX_SIDE} pixels on a side")
    return (width, height) if turned else (height, width)
