"""Pascal VOC's format: an XML file an image, with its objects (VOC2012 development kit, section 3).

    Annotations/NAME.xml   JPEGImages/NAME.jpg   ImageSets/Main/{train,val,test}.txt (names, if the data is split)

Other places for the same files are found, too. Box corners are taken as written; whether they count from 0 or from 1
differs between the programs that write them, by less than a box can be drawn. XML is parsed without entities, document
types or outside references.
"""

from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from worker.training.datasets.description import MAX_SIDE, Dataset, Problem, Sample, Split, make_sample
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.files import IMAGE_SUFFIXES, find_files, is_image, read_text, split_of

CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")


def looks_like_voc(root: Path) -> bool:
    """Whether an XML file among the first ones is an annotation."""
    for path in find_files(root, {".xml"})[:20]:
        try:
            _parse(path)
        except DatasetError:
            continue
        return True
    return False


def read_voc(root: Path) -> Dataset:
    """Read a data set in this format; its labels are the names that objects have, in alphabetical order."""
    images = {path.stem: path for path in find_files(root, IMAGE_SUFFIXES)}
    splits = _splits(root)
    problems: list[Problem] = []
    read: list[tuple[Path, Element]] = []
    for path in find_files(root, {".xml"}):
        try:
            read.append((path, _parse(path)))
        except DatasetError as error:
            problems.append(Problem("annotation_unreadable", path.relative_to(root).as_posix(), str(error)))
    names = {_text(found, "name") for _, annotation in read for found in annotation.iter("object")}
    labels = tuple(sorted(names - {""}))
    samples: list[Sample] = []
    for path, annotation in read:
        image = _find_image(path, annotation, images)
        split = splits.get(path.stem) or split_of(path.relative_to(root))
        samples.append(_sample(root, path, annotation, image, labels, split, problems))
    samples.sort(key=lambda sample: sample.path)
    return Dataset(root, "detection", "Pascal VOC", labels, tuple(samples), tuple(problems))


def _parse(path: Path) -> Element:
    try:
        annotation = defusedxml.ElementTree.fromstring(read_text(path), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        what = "has entities or a document type" if isinstance(error, DefusedXmlException) else "is not XML"
        raise DatasetError(f"{path.name} {what}") from None
    if not isinstance(annotation, Element) or annotation.tag != "annotation":
        raise DatasetError(f"{path.name} is no annotation")
    return annotation


def _splits(root: Path) -> dict[str, Split]:
    """The part of each image by its name without suffix; an image on two lists belongs to the more protected part."""
    found: dict[str, Split] = {}
    parts: tuple[Split, ...] = ("train", "val", "test")
    for part in parts:
        for path in sorted(root.glob(f"**/ImageSets/Main/{part}.txt")):
            for line in read_text(path).splitlines():
                if line.split():
                    found[line.split()[0]] = part
    return found


def _find_image(path: Path, annotation: Element, images: dict[str, Path]) -> Path:
    name = Path(_text(annotation, "filename").replace("\\", "/")).name
    stems = (Path(name).stem, path.stem) if is_image(Path(name)) else (path.stem,)
    return next((images[stem] for stem in stems if stem in images), path.with_name(name or f"{path.stem}.jpg"))


def _sample(
    root: Path,
    path: Path,
    annotation: Element,
    image: Path,
    labels: tuple[str, ...],
    split: Split | None,
    problems: list[Problem],
) -> Sample:
    size = tuple(_number(annotation, f"size/{side}") for side in ("height", "width"))
    boxes: list[tuple[float, float, float, float]] = []
    class_ids: list[int] = []
    crowd: list[bool] = []
    for number, found in enumerate(annotation.iter("object"), start=1):
        corners = [_number(found, f"bndbox/{corner}") for corner in CORNERS]
        label = _text(found, "name")
        if label not in labels or None in corners:
            what = "has no name" if label not in labels else "has no box of four numbers"
            problems.append(Problem("box_unreadable", path.relative_to(root).as_posix(), f"object {number} {what}"))
            continue
        left, top, right, bottom = (corner or 0.0 for corner in corners)
        boxes.append((left, top, right, bottom))
        class_ids.append(labels.index(label))
        crowd.append(_text(found, "difficult") == "1")
    stated = all(side is not None and 0 < side <= MAX_SIDE for side in size)
    sides = (int(size[0] or 0), int(size[1] or 0)) if stated else None
    return make_sample(image, sides, boxes, class_ids, crowd, split=split)


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: Element, path: str) -> float | None:
    try:
        value = float(_text(element, path))
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None
