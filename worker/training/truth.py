"""The truth of a part of a data set, in COCO's format: what `worker.evaluate` measures by."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from worker.masks import InstanceMask
from worker.training.datasets.description import Sample

FILE: Final = "instances.json"


def write_truth(samples: Sequence[Sample], labels: Sequence[str], folder: Path) -> None:
    """Write a part of a data set as COCO's `instances.json`: full paths of its images, and masks if it has any.

    Raises:
        DatasetError: a mask cannot be read.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, start=1):
        images.append({"id": number, "file_name": str(sample.path.resolve())})
        masks = [None] * len(sample.boxes) if sample.masks is None else sample.masks()
        for (left, top, right, bottom), class_id, crowd, mask in zip(
            sample.boxes.tolist(), sample.class_ids.tolist(), sample.crowd.tolist(), masks, strict=True
        ):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": class_id,
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": int(crowd),
            }
            if mask is not None:
                rle = InstanceMask(0, 0, mask).to_rle(mask.shape)
                annotation |= {"segmentation": rle.model_dump(), "area": int(np.count_nonzero(mask))}
            annotations.append(annotation)
    categories = [{"id": number, "name": label} for number, label in enumerate(labels)]
    folder.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / FILE).write_text(json.dumps(document), encoding="utf-8")
