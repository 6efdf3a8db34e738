"""YOLO's format: a text file an image, of the same name, with a line an object.

    CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT     the class as number from 0, the others as shares of the image's sides

The text files lie beside the images, or in `labels/` where those lie in `images/`. Names of the classes come from
`classes.txt`, `obj.names` or another `.names` file (one a line), or from `names` in a `data.yaml`.
"""

import re
from pathlib import Path
from typing import Final

from worker.training.datasets.description import Dataset, Problem, Sample, make_sample
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.files import IMAGE_SUFFIXES, find_files, image_size, read_text, split_of

#: text files that are not annotations
_OTHER: Final = frozenset({"classes.txt", "labels.txt", "readme.txt", "train.txt", "val.txt", "valid.txt", "test.txt"})
_LINE: Final = re.compile(r"\s*\d+(\s+[-+.\deE]+){4}\s*")
MAX_CLASSES: Final = 10_000

Row = tuple[int, float, float, float, float]


def looks_like_yolo(root: Path) -> bool:
    """Whether a text file beside an image has lines of this form."""
    for image in find_files(root, IMAGE_SUFFIXES)[:200]:
        path = _annotation(root, image)
        if path is not None and any(_LINE.fullmatch(line) for line in read_text(path).splitlines()):
            return True
    return False


def read_yolo(root: Path) -> Dataset:
    """Read a data set in this format. An image without a text file has no objects."""
    problems: list[Problem] = []
    found: list[tuple[Path, tuple[int, int] | None, list[Row]]] = []
    used: set[Path] = set()
    for image in find_files(root, IMAGE_SUFFIXES):
        path = _annotation(root, image)
        rows: list[Row] = []
        if path is not None:
            used.add(path)
            rows = _rows(root, path, problems)
        try:
            size = image_size(image)
        except DatasetError:
            size, rows = None, []  # `check` says what is wrong with the image
        found.append((image, size, rows))
    problems += [
        Problem("image_missing", path.relative_to(root).as_posix(), "there is no image for this file")
        for path in find_files(root, {".txt"})
        if path not in used and path.name.lower() not in _OTHER and _LINE.match(read_text(path))
    ]
    labels = _labels(root, problems, 1 + max((row[0] for _, _, rows in found for row in rows), default=-1))
    samples: list[Sample] = []
    for image, size, rows in found:
        name = image.relative_to(root).as_posix()
        unknown = sorted({row[0] for row in rows if row[0] >= len(labels)})
        problems += [Problem("class_unknown", name, f"there is no class {number}") for number in unknown]
        rows = [row for row in rows if row[0] < len(labels)]
        boxes = [_corners(row, size) for row in rows] if size else []
        samples.append(
            make_sample(image, size, boxes, [row[0] for row in rows], split=split_of(image.relative_to(root)))
        )
    return Dataset(root, "detection", "YOLO text files", labels, tuple(samples), tuple(problems))


def _annotation(root: Path, image: Path) -> Path | None:
    beside = image.with_suffix(".txt")
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    mirrored = [
        root.joinpath(*parts[:at], "labels", *parts[at + 1 :]) for at, part in enumerate(parts) if part == "images"
    ]
    candidates = [path for path in (*mirrored, beside) if path.name.lower() not in _OTHER]
    return next((path for path in candidates if path.is_file()), None)


def _rows(root: Path, path: Path, problems: list[Problem]) -> list[Row]:
    rows: list[Row] = []
    name = path.relative_to(root).as_posix()
    try:
        lines = read_text(path).splitlines()
    except DatasetError as error:
        problems.append(Problem("annotation_unreadable", name, str(error)))
        return rows
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            class_id, x, y, width, height = line.split()
            row = (int(class_id), float(x), float(y), float(width), float(height))
            if not (0 <= row[0] < MAX_CLASSES and all(-10 < value < 10 for value in row[1:])):
                raise ValueError
        except ValueError:
            problems.append(
                Problem("box_unreadable", name, f"line {number} is not a class and four shares of the sides")
            )
            continue
        rows.append(row)
    return rows


def _corners(row: Row, size: tuple[int, int]) -> tuple[float, float, float, float]:
    _, x, y, w, h = row
    height, width = size
    return (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height


def _labels(root: Path, problems: list[Problem], count: int) -> tuple[str, ...]:
    for path in (root / "classes.txt", root / "labels" / "classes.txt", *find_files(root, {".names"})):
        if path.is_file():
            return tuple(line.strip() for line in read_text(path).rstrip().splitlines())
    for path in find_files(root, {".yaml", ".yml"}):
        if names := _yaml_names(read_text(path)):
            return names
    problems.append(Problem("names_missing", ".", "no list of class names (classes.txt): classes are called by number"))
    return tuple(str(number) for number in range(count))


def _yaml_names(text: str) -> tuple[str, ...]:
    """`names` of a `data.yaml`, in the forms that are used: `[a, b]`, `- a` lines, `0: a` lines."""
    match = re.search(r"^names\s*:[ \t]*(.*(?:\n(?:[ \t]+|-).*)*)", text, re.MULTILINE)
    if not match:
        return ()
    body = match[1].strip()
    if body.startswith("["):
        parts = body.strip("[] \n").split(",")
    else:
        parts = [re.sub(r"^\s*(-|\d+\s*:)\s*", "", line) for line in body.splitlines()]
    return tuple(name for part in parts if (name := part.split(" #")[0].strip().strip("'\"")))
