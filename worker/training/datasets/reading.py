"""From a folder to a data set: the format is found out from what lies in it."""

from pathlib import Path
from typing import Final

from worker.training.datasets.classification import looks_like_classes, read_classes
from worker.training.datasets.coco import looks_like_coco, read_coco
from worker.training.datasets.description import Dataset
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.files import find_files, is_hidden
from worker.training.datasets.pennfudan import looks_like_pennfudan, read_pennfudan
from worker.training.datasets.voc import looks_like_voc, read_voc
from worker.training.datasets.yolo import looks_like_yolo, read_yolo

#: JSON files that are looked into
MAX_JSON: Final = 20
#: folders with nothing but one folder in them that are entered
MAX_DEPTH: Final = 4


def read_dataset(folder: Path) -> Dataset:
    """Read a data set.

    Args:
        folder: of a data set, or with nothing but one in it, as zip files often have it. Known are: Penn-Fudan masks,
            COCO JSON, Pascal VOC, YOLO text files, a folder a class. They are tried in this order.

    Raises:
        DatasetError: the folder has none of these formats, or a file that says everything cannot be read.
    """
    if not folder.is_dir():
        raise DatasetError("the data set's folder is not there")
    root = _inner(folder)
    if looks_like_pennfudan(root):
        return read_pennfudan(root)
    annotations = [path for path in find_files(root, {".json"})[:MAX_JSON] if looks_like_coco(path)]
    if annotations:
        return read_coco(root, annotations)
    if looks_like_voc(root):
        return read_voc(root)
    if looks_like_yolo(root):
        return read_yolo(root)
    if looks_like_classes(root):
        return read_classes(root)
    raise DatasetError(
        "no known format: neither Penn-Fudan masks, COCO JSON, Pascal VOC, YOLO text files, nor a folder a class"
    )


def _inner(folder: Path) -> Path:
    for _ in range(MAX_DEPTH):
        entries = [path for path in folder.iterdir() if not is_hidden(path.relative_to(folder))]
        if len(entries) != 1 or not entries[0].is_dir():
            break
        folder = entries[0]
    return folder
