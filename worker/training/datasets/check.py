"""A data set looked through before training: what is wrong, file by file, and what is left to train on."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from worker.training.datasets.description import Dataset, Kind, Problem, Sample, Split
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.files import image_size

#: problems that a report lists; it counts all
MAX_LISTED: Final = 1000
#: pixels by which a box may reach over the edge without a word: rounding
TOLERANCE: Final = 1.5


class ProblemReport(BaseModel):
    """One problem; see `Problem`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    file: str
    message: str
    fatal: bool


class ClassCount(BaseModel):
    """How often a class is there, among what is left to train on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    images: int
    objects: int


class DatasetReport(BaseModel):
    """What `check` found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    format: str
    #: whether training can begin
    usable: bool
    #: images that can be used, and those of them without objects
    images: int
    empty_images: int
    classes: tuple[ClassCount, ...]
    #: how many images the data set itself assigns to a part
    given_split: dict[Split, int]
    problem_counts: dict[str, int]
    problems: tuple[ProblemReport, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """The data set without what cannot be used, and the report."""

    dataset: Dataset
    report: DatasetReport


def check(dataset: Dataset) -> Checked:
    """Look through a data set; every image is decoded once.

    Left out are images that are missing, unreadable or there twice, and boxes that are empty, there twice or outside
    of their image. Boxes that reach over the edge are named and stay; training cuts them off.
    """
    problems = list(dataset.problems)
    seen: dict[str, Path] = {}
    samples = [clean for sample in dataset.samples if (clean := _check_sample(dataset, sample, seen, problems))]
    counts = _class_counts(dataset, samples)
    problems += [
        Problem("class_empty", ".", f"the class {count.label!r} is in no image") for count in counts if not count.images
    ]
    problems += _whole(dataset, samples, counts)
    report = DatasetReport(
        kind=dataset.kind,
        format=dataset.format,
        usable=not any(problem.fatal for problem in problems),
        images=len(samples),
        empty_images=sum(not len(sample.class_ids) for sample in samples),
        classes=counts,
        given_split=dict(Counter(sample.split for sample in samples if sample.split is not None)),
        problem_counts=dict(sorted(Counter(problem.code for problem in problems).items())),
        problems=tuple(
            ProblemReport(code=each.code, file=each.file, message=each.message, fatal=each.fatal)
            for each in sorted(problems, key=lambda problem: not problem.fatal)[:MAX_LISTED]
        ),
    )
    return Checked(replace(dataset, samples=tuple(samples), problems=tuple(problems)), report)


def _check_sample(dataset: Dataset, sample: Sample, seen: dict[str, Path], problems: list[Problem]) -> Sample | None:
    name = _name(dataset, sample.path)
    if not sample.path.is_file():
        problems.append(Problem("image_missing", name, "the image is missing"))
        return None
    try:
        size = image_size(sample.path)
        _decode(sample.path)
    except DatasetError as error:
        problems.append(Problem("image_unreadable", name, str(error)))
        return None
    with sample.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    first = seen.setdefault(digest, sample.path)
    if first != sample.path:
        # kept, it could be learnt from and held out at the same time
        problems.append(Problem("image_duplicate", name, f"the same image as {_name(dataset, first)}: left out"))
        return None
    if sample.size not in {None, size}:
        stated = f"{sample.size[1]}x{sample.size[0]}" if sample.size else ""
        problems.append(
            Problem("size_differs", name, f"the image is {size[1]}x{size[0]}, its annotation says {stated}")
        )
    kept = np.ones(len(sample.class_ids), np.bool_)
    if dataset.kind != "classification":
        for index, code, message in _box_problems(sample, size):
            problems.append(Problem(code, name, f"box {index + 1} {message}"))
            if code != "box_over_edge":
                kept[index] = False
    if dataset.kind == "masks" and sample.masks is not None:
        try:
            shape = sample.masks().shape
        except DatasetError as error:
            problems.append(Problem("mask_unreadable", name, str(error)))
            return None
        if shape[1:] != size:
            problems.append(
                Problem("mask_size", name, f"its masks are {shape[2]}x{shape[1]}, it is {size[1]}x{size[0]}")
            )
            return None
    return _keep(sample, size, kept)


def _name(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.root).as_posix() if path.is_relative_to(dataset.root) else path.name


def _decode(path: Path) -> None:
    """Decode with Pillow: OpenCV gives a truncated image without a word."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DatasetError("the image is cut off or broken") from None


def _box_problems(sample: Sample, size: tuple[int, int]) -> Iterator[tuple[int, str, str]]:
    height, width = size
    there: set[tuple[int, tuple[float, ...]]] = set()
    for index, (box, class_id) in enumerate(zip(sample.boxes.tolist(), sample.class_ids.tolist(), strict=True)):
        left, top, right, bottom = box
        where = f"({left:g}, {top:g}) to ({right:g}, {bottom:g})"
        if not (right > left and bottom > top):
            yield index, "box_empty", f"has no area: {where}"
        elif right <= 0 or bottom <= 0 or left >= width or top >= height:
            yield index, "box_outside", f"is outside of the image: {where}"
        elif (class_id, tuple(box)) in there:
            yield index, "box_duplicate", f"is there twice: {where}"
        elif min(left, top) < -TOLERANCE or right > width + TOLERANCE or bottom > height + TOLERANCE:
            yield index, "box_over_edge", f"reaches out of the image of {width}x{height}: {where}"
        there.add((class_id, tuple(box)))


def _keep(sample: Sample, size: tuple[int, int], kept: NDArray[np.bool_]) -> Sample:
    if kept.all():
        return replace(sample, size=size)
    reader = sample.masks
    return replace(
        sample,
        size=size,
        boxes=sample.boxes[kept],
        class_ids=sample.class_ids[kept],
        crowd=sample.crowd[kept],
        masks=None if reader is None else lambda: reader()[kept],
    )


def _class_counts(dataset: Dataset, samples: list[Sample]) -> tuple[ClassCount, ...]:
    objects: Counter[int] = Counter()
    images: Counter[int] = Counter()
    for sample in samples:
        ids = sample.class_ids.tolist()
        objects.update(ids)
        images.update(set(ids))
    return tuple(
        ClassCount(label=label, images=images[index], objects=objects[index])
        for index, label in enumerate(dataset.labels)
    )


def _whole(dataset: Dataset, samples: list[Sample], counts: tuple[ClassCount, ...]) -> Iterator[Problem]:
    if not samples:
        yield Problem("no_images", ".", "no image can be used", fatal=True)
    elif not any(count.objects for count in counts):
        yield Problem("no_objects", ".", "no image has an object that can be used", fatal=True)
    elif dataset.kind == "classification" and sum(count.images > 0 for count in counts) < 2:
        yield Problem("one_class", ".", "there is only one class: nothing to tell apart", fatal=True)
    if len(set(dataset.labels)) < len(dataset.labels):
        yield Problem("names_repeated", ".", "two classes have the same name", fatal=True)
