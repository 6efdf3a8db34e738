"""Small data sets for the tests, in every format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

Box = tuple[float, float, float, float]


def write_image(path: Path, *, size: tuple[int, int] = (40, 60), seed: int = 0) -> Path:
    """Noise of this height and width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_voc(root: Path, name: str, objects: Sequence[tuple[str, Box]], *, size: tuple[int, int] = (40, 60)) -> Path:
    rows = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for label, box in objects
    )
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation><filename>{name}.jpg</filename><size><width>{size[1]}</width><height>{size[0]}</height>"
        f"<depth>3</depth></size>{rows}</annotation>"
    )
    return path


def write_coco(
    path: Path, images: Mapping[str, Sequence[tuple[int, Box]]], *, size: tuple[int, int] = (40, 60), **more: object
) -> Path:
    """`images`: category and box (left, top, width, height) of the objects of each file. Categories are 3 and 7."""
    document = {
        "images": [
            {"id": number, "file_name": name, "height": size[0], "width": size[1]} for number, name in enumerate(images)
        ],
        "annotations": [
            {"id": 100 * number + index, "image_id": number, "category_id": category, "bbox": list(box), **more}
            for number, objects in enumerate(images.values())
            for index, (category, box) in enumerate(objects)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path
