"""COCO's format: one JSON file with `images`, `annotations` and `categories` (cocodataset.org, "Data format").

A box is left, top, width, height. A mask is a list of polygons, or run lengths: counts as a list of numbers, or packed
into a string ("compressed RLE"). Category ids are any numbers; ours are 0, 1, ... in the order of the file.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from worker.training.datasets.coco_masks import read_masks
from worker.training.datasets.description import MAX_SIDE, Dataset, Kind, Problem, Sample, Split, make_sample
from worker.training.datasets.errors import DatasetError

MAX_BYTES: Final = 1 << 29
#: the lists of a file, and what each of their entries must have
LISTS: Final = {"images": ("id", "file_name"), "annotations": ("image_id", "category_id"), "categories": ("id", "name")}
#: file names that say which part of the data they describe
SPLIT_WORDS: Final[dict[str, Split]] = {"train": "train", "val": "val", "test": "test"}


def looks_like_coco(path: Path) -> bool:
    """Whether a file is JSON and means to be in this format; `read_coco` says what is wrong with it."""
    try:
        document = _json(path)
    except DatasetError:
        return False
    return isinstance(document, dict) and len(document.keys() & LISTS.keys()) > 1


def read_coco(root: Path, files: Sequence[Path]) -> Dataset:
    """Read a data set with one annotation file, or one for each split.

    Args:
        root: the data set's folder.
        files: its annotation files. With several, `train`, `val` or `test` in the name says the split.

    Raises:
        DatasetError: a file is not in this format, or two files differ in their categories.
    """
    names: list[str] = []
    samples: list[Sample] = []
    problems: list[Problem] = []
    masked = False
    for file in files:
        document = _load(file)
        own = [str(category["name"]) for category in document["categories"]]
        if names and own != names:
            raise DatasetError(f"{file.name} has other categories than {files[0].name}")
        names = own
        split = next((split for word, split in SPLIT_WORDS.items() if word in file.stem), None)
        reader = _File(root, file, document, split if len(files) > 1 else None)
        samples += reader.samples()
        problems += reader.problems
        masked = masked or reader.masked
    samples.sort(key=lambda sample: sample.path)
    kind: Kind = "masks" if masked else "detection"
    return Dataset(root, kind, "COCO JSON", tuple(names), tuple(samples), tuple(problems))


def _json(path: Path) -> object:
    if path.stat().st_size > MAX_BYTES:
        raise DatasetError(f"{path.name} is larger than {MAX_BYTES >> 20} MB")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path.name} is not JSON: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    document = _json(path)
    for key, fields in LISTS.items():
        rows = document.get(key) if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise DatasetError(f"{path.name} has no list {key!r}: it is not in COCO's format")
        for row in rows:
            if not isinstance(row, dict) or not all(isinstance(row.get(name), int | str) for name in fields):
                raise DatasetError(f"{path.name}: an entry of {key!r} has not the fields {', '.join(fields)}")
    return cast("dict[str, Any]", document)


class _File:
    """One annotation file on its way to samples."""

    def __init__(self, root: Path, file: Path, document: dict[str, Any], split: Split | None) -> None:
        self._root = root
        self._name = file.relative_to(root).as_posix()
        self._folder = file.parent
        self._document = document
        self._split = split
        self._class_ids = {category["id"]: number for number, category in enumerate(document["categories"])}
        self.problems: list[Problem] = []
        self.masked = False

    def samples(self) -> list[Sample]:
        """A sample an image, also for those without objects."""
        objects: dict[object, list[dict[str, Any]]] = {image["id"]: [] for image in self._document["images"]}
        for row in self._document["annotations"]:
            if row["image_id"] not in objects:
                self._complain("image_unknown", f"annotation {row.get('id')} is of image {row['image_id']}: no such")
            elif row["category_id"] not in self._class_ids:
                self._complain("class_unknown", f"annotation {row.get('id')} has category {row['category_id']}")
            elif not _is_box(row.get("bbox")):
                self._complain("box_unreadable", f"annotation {row.get('id')}: the box is not four numbers")
            else:
                objects[row["image_id"]].append(row)
        return [self._sample(image, objects[image["id"]]) for image in self._document["images"]]

    def _complain(self, code: str, message: str) -> None:
        self.problems.append(Problem(code, self._name, message))

    def _sample(self, image: dict[str, Any], rows: list[dict[str, Any]]) -> Sample:
        height, width = image.get("height"), image.get("width")
        size = None
        if isinstance(height, int) and isinstance(width, int) and 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE:
            size = (height, width)
        masks = None
        if size and rows and all(row.get("segmentation") for row in rows):
            masks = partial(read_masks, [row["segmentation"] for row in rows], size)
            self.masked = True
        return make_sample(
            self._find(str(image["file_name"])),
            size,
            [(x, y, x + width, y + height) for x, y, width, height in (row["bbox"] for row in rows)],
            [self._class_ids[row["category_id"]] for row in rows],
            [bool(row.get("iscrowd")) for row in rows],
            masks=masks,
            split=self._split,
        )

    def _find(self, name: str) -> Path:
        """Where an image is: beside the file, in `images/`, or as the name says from the root; never outside it."""
        places = [self._folder / name, self._folder / "images" / name, self._root / name, self._root / "images" / name]
        if self._split:
            places.append(self._root / "images" / self._split / name)
        inside = [place for place in places if place.resolve().is_relative_to(self._root.resolve())]
        if not inside:
            self._complain("path_outside", f"the image {name[:100]!r} is outside of the data set's folder")
            return self._root / "images" / Path(name).name
        return next((place for place in inside if place.is_file()), inside[min(1, len(inside) - 1)])


def _is_box(box: object) -> bool:
    return (
        isinstance(box, list)
        and len(box) == 4
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in box)
        and bool(np.isfinite(box).all())
    )
