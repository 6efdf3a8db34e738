"""How good a network in training is: by the code that measures finished models (`worker.evaluate`)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.entries import DarknetEntry, WeightFile
from worker.engines import KerasModel
from worker.evaluate import evaluate
from worker.models.darknet.detector import DarknetDetector
from worker.models.darknet.plan import Plan
from worker.training.datasets.description import Sample

FILE: Final = "instances.json"


def write_truth(samples: Sequence[Sample], labels: Sequence[str], folder: Path) -> None:
    """Write a part of a data set as COCO's `instances.json`, with the full paths of its images."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, start=1):
        images.append({"id": number, "file_name": str(sample.path.resolve())})
        for (left, top, right, bottom), class_id, crowd in zip(
            sample.boxes.tolist(), sample.class_ids.tolist(), sample.crowd.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": class_id,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(crowd),
                }
            )
    categories = [{"id": number, "name": label} for number, label in enumerate(labels)]
    folder.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / FILE).write_text(json.dumps(document), encoding="utf-8")


class _NetworkSession:
    """A Keras network as a session of an engine."""

    def __init__(self, network: KerasModel) -> None:
        self.engine: Final[str] = "keras"
        self.precision: Final[str] = "f32"
        self._network = network

    def run(self, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: Any = self._network.predict_on_batch(*inputs)
        return [np.asarray(output, np.float32) for output in outputs]


def measure(network: KerasModel, plan: Plan, labels: tuple[str, ...], folder: Path) -> dict[str, float]:
    """COCO's figures (see `worker.evaluate.METRICS`) of a network on a part that `write_truth` wrote."""
    file = WeightFile(name="training")
    entry = DarknetEntry(name="training", title="training", config=file, weights=file, classes=file)
    model = DarknetDetector(entry, plan, labels, "", _NetworkSession(network))
    return evaluate(model, folder).metrics
