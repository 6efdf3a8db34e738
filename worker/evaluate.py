"""How good a model is: `python -m worker.evaluate --model M --data DIR`.

DIR holds `images/` and `instances.json` in COCO's format. The figures are COCO's own (pycocotools): average precision
over the IoU thresholds 0.50 to 0.95, over all classes of the annotations that the model knows. Detections above a score
of 0.001 count, 100 an image at most; of two boxes of one class with an IoU above 0.45 (`--iou`) the better one stays.
Of a model that outlines objects the masks are measured, too, if the annotations have any.
"""

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from shared.catalog import load_catalog
from shared.errors import PublicError
from shared.settings import Settings, get_settings
from worker.models.base import DetectionModel, Image
from worker.models.detections import Detections
from worker.models.registry import ModelCache

SCORE: Final = 0.001
IOU: Final = 0.45
MAX_DETECTIONS: Final = 100

#: Darknet's names for COCO's classes where they differ
ALIASES: Final = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}

#: in the order of COCOeval's summary
METRICS: Final = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10", "AR100")
#: the same of masks
MASK_METRICS: Final = tuple(f"mask_{name}" for name in METRICS)


class EvaluationError(Exception):
    """The data cannot be used; the message is for a person."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome.

    `metrics` has the keys of `METRICS`, and of `MASK_METRICS` if masks were measured, from 0 to 1; -1 where the
    data has nothing to measure it. `classes` of the `annotated` ones are known to the model, and measured.
    """

    metrics: dict[str, float]
    images: int
    detections: int
    seconds: float
    classes: int
    annotated: int
    unmatched: tuple[str, ...]


def category_ids(labels: Sequence[str], categories: Iterable[dict[str, Any]]) -> list[int | None]:
    """The id of the category that each label names, None where there is none. Case and spaces do not count."""

    def key(name: str) -> str:
        return "".join(name.lower().split())

    ids = {key(category["name"]): int(category["id"]) for category in categories}
    return [ids.get(key(label), ids.get(key(ALIASES.get(label, label)))) for label in labels]


def evaluate(
    model: DetectionModel, data: Path, *, limit: int | None = None, iou: float = IOU, progress: bool = False
) -> Report:
    """Run a model over annotated images.

    Args:
        model: loaded.
        data: folder with `images/` and `instances.json`.
        limit: only the first so many images.
        iou: of non-maximum suppression.
        progress: show a bar.

    Raises:
        EvaluationError: the folder is not of this form, or an image is missing or unreadable.
    """
    try:
        truth = json.loads((data / "instances.json").read_text(encoding="utf-8"))
        images = sorted(truth["images"], key=lambda image: int(image["id"]))[:limit]
        categories = category_ids(model.labels, truth["categories"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{data}/instances.json is not in COCO's format: {error}") from error
    if not images or all(each is None for each in categories):
        raise EvaluationError(f"{data} has no images, or none of its categories is one that the model knows")
    started = time.perf_counter()
    boxes: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    for image in tqdm(images, desc=model.entry.name, disable=None if progress else True):
        pixels = _read_image(data / "images" / str(image["file_name"]))
        found = model.detect(pixels, score=SCORE, iou=iou, max_detections=MAX_DETECTIONS)
        image["height"], image["width"] = pixels.shape[:2]  # pycocotools asks for them, not all annotations say
        boxes += _coco_results(found, int(image["id"]), categories)
        masks += _coco_masks(found, int(image["id"]), categories, pixels.shape[:2])
    seconds = time.perf_counter() - started
    image_ids = [int(image["id"]) for image in images]
    known = sorted({each for each in categories if each is not None})
    metrics = _measure(truth, image_ids, known, boxes)
    measured = [each for each in truth["annotations"] if each["category_id"] in known]
    if model.entry.task == "segmentation" and all(each.get("segmentation") for each in measured):
        outlined = _measure(truth, image_ids, known, masks, "segm")
        metrics |= {name: outlined[own] for name, own in zip(MASK_METRICS, METRICS, strict=True)}
    return Report(
        metrics=metrics,
        images=len(images),
        detections=len(boxes),
        seconds=seconds,
        classes=len(known),
        annotated=len(truth["categories"]),
        unmatched=tuple(label for label, found in zip(model.labels, categories, strict=True) if found is None),
    )


def _read_image(path: Path) -> Image:
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error) as error:
        raise EvaluationError(f"{path} cannot be read") from error
    if pixels is None:
        raise EvaluationError(f"{path} is not an image")
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def _coco_results(found: Detections, image_id: int, categories: list[int | None]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": categories[class_id],
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
        }
        for (left, top, right, bottom), score, class_id in zip(
            found.boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True
        )
        if categories[class_id] is not None
    ]


def _coco_masks(
    found: Detections, image_id: int, categories: list[int | None], size: tuple[int, ...]
) -> list[dict[str, Any]]:
    if found.masks is None:
        return []
    return [
        {
            "image_id": image_id,
            "category_id": categories[class_id],
            "segmentation": mask.to_rle((size[0], size[1])).model_dump(),
            "score": score,
        }
        for mask, score, class_id in zip(found.masks, found.scores.tolist(), found.class_ids.tolist(), strict=True)
        if categories[class_id] is not None
    ]


def _measure(
    truth: dict[str, Any],
    image_ids: list[int],
    category_ids: list[int],
    results: list[dict[str, Any]],
    kind: Literal["bbox", "segm"] = "bbox",
) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        coco = COCO()
        coco.dataset = cast("Any", {"info": {}, **truth})
        coco.createIndex()
        # loadRes wants at least one: a detection of no category and no score stands for none at all
        detected = coco.loadRes(
            results or [{"image_id": image_ids[0], "category_id": -1, "bbox": [0, 0, 0, 0], "score": 0.0}]
        )
        evaluation = COCOeval(coco, detected, kind)
        evaluation.params.imgIds = image_ids
        evaluation.params.catIds = category_ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) for name, value in zip(METRICS, evaluation.stats, strict=False)}


def main(arguments: Sequence[str] | None = None, settings: Settings | None = None) -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.evaluate", description="Measure a model's precision.")
    parser.add_argument("--model", help="its name; none: the default model")
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and instances.json")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--iou", type=float, default=IOU, help="of non-maximum suppression (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    settings = settings or get_settings()
    try:
        catalog = load_catalog(settings.catalog, settings.default_model)
        model = ModelCache(lambda: catalog, settings).get(options.model or catalog.default)
        if not isinstance(model, DetectionModel):
            raise EvaluationError(f"{model.entry.name} finds no objects: there is no AP to measure")
        report = evaluate(model, options.data, limit=options.limit, iou=options.iou, progress=not options.json)
    except (PublicError, EvaluationError, OSError, ValueError) as error:
        print(error.message if isinstance(error, PublicError) else error, file=sys.stderr)
        return 1
    used = model.info()
    if options.json:
        figures = {
            "images": report.images,
            "classes": report.classes,
            "detections": report.detections,
            "seconds": round(report.seconds, 2),
        }
        print(json.dumps({"model": used.model_dump(mode="json"), **figures, "metrics": report.metrics}, indent=2))
        return 0
    height, width = used.input_size
    print(f"{used.name}, {used.engine} {used.precision}, {width}x{height}")
    print(f"{report.images} images, {report.detections} detections, {report.seconds:.1f} s")
    for name, value in report.metrics.items():
        print(f"{name:10} {f'{100 * value:5.1f} %' if value >= 0 else 'nothing to measure'}")
    if report.classes < report.annotated:
        print(f"{report.classes} of the {report.annotated} classes of the annotations: the model knows no others")
    if report.unmatched:
        print(f"not in the annotations: {', '.join(report.unmatched)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
