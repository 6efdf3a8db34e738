"""COCO-style evaluation."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.entries import ModelEntry
from shared.results import ModelUsed
from shared.settings import ROOT, Settings
from tests.worker.conftest import darknet_entry
from tests.worker.training.mask_rcnn_shapes import entry as shapes_entry
from worker.evaluate import EvaluationError, category_ids, evaluate, main
from worker.masks import InstanceMask
from worker.models.base import DetectionModel, Image, Outputs, Placement, Prepared
from worker.models.detections import Detections

#: what an ideal model finds: one box of each image, its colour says of which class
SQUARE = (40, 30, 100, 90)


class Ideal(DetectionModel):
    """Finds the coloured square, moved by `shift` pixels."""

    labels = ("sofa", "dog")

    def __init__(self, shift: float = 0, entry: ModelEntry | None = None) -> None:
        super().__init__(entry or darknet_entry("ideal"))
        self.shift = shift

    def info(self) -> ModelUsed:
        raise NotImplementedError

    def preprocess(self, image: Image) -> Prepared:
        return Prepared(image[np.newaxis].astype(np.float32), Placement((120, 160), 0, 0, 160, 120))

    def infer(self, prepared: Prepared) -> Outputs:
        return [prepared.batch]

    def postprocess(
        self, outputs: Outputs, prepared: Prepared, *, score: float, iou: float, max_detections: int
    ) -> Detections:
        assert (score, iou, max_detections) == (0.001, 0.45, 100)
        assert prepared.batch is outputs[0]
        red, green, _ = outputs[0][0, 60, 70]
        if max(red, green) < 100:
            return Detections.empty(self.labels)
        box = np.asarray([SQUARE], np.float32) + np.asarray([self.shift, 0, self.shift, 0], np.float32)
        return Detections(box, np.ones(1, np.float32), np.asarray([int(green > red)]), self.labels)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    left, top, right, bottom = SQUARE
    images, annotations = [], []
    for index, colour in enumerate([(0, 0, 255), (0, 255, 0), (0, 0, 255)], start=1):
        pixels = np.zeros((120, 160, 3), np.uint8)
        pixels[top:bottom, left:right] = colour  # blue, green, red
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), pixels)
        images.append({"id": index, "file_name": f"{index}.png", "width": 160, "height": 120})
        annotations.append(
            {"id": index, "image_id": index, "category_id": 63 if colour[2] else 18, "iscrowd": 0, "area": 3600.0,
             "bbox": [left, top, right - left, bottom - top]}
        )  # fmt: skip
    categories = [{"id": 18, "name": "dog"}, {"id": 63, "name": "couch"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    return tmp_path


def test_an_ideal_model(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate(Ideal(), dataset)
    assert (report.images, report.detections, report.classes, report.unmatched) == (3, 3, 2, ())
    assert report.metrics["AP"] == report.metrics["AP50"] == report.metrics["AR100"] == 1
    assert report.metrics["AP_small"] == -1
    assert capsys.readouterr().out == ""


def test_what_a_model_cannot_know_does_not_count(dataset: Path) -> None:
    """Or a model of one class would have an 80th of its AP on COCO, and could lose all of it unnoticed."""
    path = dataset / "instances.json"
    document = json.loads(path.read_text())
    document["categories"].append({"id": 1, "name": "unicorn"})
    document["annotations"].append(document["annotations"][0] | {"id": 4, "category_id": 1})
    path.write_text(json.dumps(document))
    report = evaluate(Ideal(), dataset)
    assert (report.classes, report.annotated, report.unmatched) == (2, 3, ())
    assert report.metrics["AP"] == report.metrics["AR100"] == 1


class Outlining(Ideal):
    """Finds the square by its pixels, too."""

    def __init__(self) -> None:
        super().__init__(entry=shapes_entry())

    def postprocess(self, *arguments: Any, **options: Any) -> Detections:
        found = super().postprocess(*arguments, **options)
        left, top, right, bottom = SQUARE
        mask = InstanceMask(left, top, np.ones((bottom - top, right - left), np.bool_))
        return replace(found, masks=(mask,) * len(found.scores))


@pytest.mark.parametrize(("unknown", "measured"), [(True, True), (False, False)])
def test_masks_count_if_all_that_the_model_can_know_has_one(dataset: Path, *, unknown: bool, measured: bool) -> None:
    path = dataset / "instances.json"
    document = json.loads(path.read_text())
    left, top, right, bottom = SQUARE
    outline = [left, top, right, top, right, bottom, left, bottom]
    document["annotations"] = [each | {"segmentation": [outline]} for each in document["annotations"]]
    document["categories"].append({"id": 1, "name": "unicorn"})
    bare = document["annotations"][0] | {"id": 4, "category_id": 1 if unknown else 18, "segmentation": []}
    document["annotations"].append(bare)
    path.write_text(json.dumps(document))
    metrics = evaluate(Outlining(), dataset).metrics
    assert ("mask_AP" in metrics) is measured
    assert metrics.get("mask_AP", 1) == 1


def test_a_model_that_is_off(dataset: Path) -> None:
    """Moved by 12 of 60 pixels the IoU is 2/3: enough for 0.50, not for 0.75."""
    metrics = evaluate(Ideal(12), dataset).metrics
    assert (metrics["AP50"], metrics["AP75"]) == (1, 0)
    assert metrics["AP"] == pytest.approx(0.4)


def test_a_model_that_finds_nothing(dataset: Path) -> None:
    for path in (dataset / "images").iterdir():
        cv2.imwrite(str(path), np.zeros((120, 160, 3), np.uint8))
    report = evaluate(Ideal(), dataset)
    assert report.detections == 0
    assert report.metrics["AP"] == report.metrics["AP50"] == 0


def test_only_the_first_images(dataset: Path) -> None:
    (dataset / "images" / "3.png").unlink()
    assert evaluate(Ideal(), dataset, limit=2).images == 2
    with pytest.raises(EvaluationError, match=r"3\.png cannot be read"):
        evaluate(Ideal(), dataset)
    (dataset / "images" / "3.png").write_bytes(b"no image")
    with pytest.raises(EvaluationError, match=r"3\.png is not an image"):
        evaluate(Ideal(), dataset)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not in COCO's format"),
        ("{", "not in COCO's format"),
        ("[]", "not in COCO's format"),
        ('{"images": [], "categories": [{"id": 1, "name": "dog"}]}', "has no images"),
        ('{"images": [{"id": 1}], "categories": [{"id": 1, "name": "unicorn"}]}', "none of its categories"),
    ],
)
def test_bad_data(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "instances.json").write_text(content)
    with pytest.raises(EvaluationError, match=message):
        evaluate(Ideal(), tmp_path)


def test_labels_to_categories() -> None:
    names = ["airplane", "Dining Table", "tv", "motorbike", "zero"]
    categories = [{"id": index, "name": name} for index, name in enumerate(names[::-1])]
    labels = ["aeroplane", "diningtable", "tvmonitor", "motorbike", "zero", "unicorn"]
    assert category_ids(labels, categories) == [4, 3, 2, 1, 0, None]


def test_the_command_on_coco(
    data_dir: Path, engine_cache: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    own = settings.model_copy(
        update={
            "weights_dir": data_dir / "weights",
            "catalog": ROOT / "weights" / "catalog.toml",
            "engine_cache_dir": engine_cache,
        }
    )
    arguments = ["--model", "yolo-fastest-1.1-xl", "--data", str(data_dir / "coco128")]
    assert main([*arguments, "--json"], own) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["images"], document["classes"]) == (128, 80)
    assert document["model"]["name"] == "yolo-fastest-1.1-xl"
    assert document["metrics"]["AP50"] == pytest.approx(0.454, abs=0.005)
    assert document["metrics"]["AP"] == pytest.approx(0.247, abs=0.005)
    assert main([*arguments, "--limit", "2"], own) == 0
    assert "2 images, " in capsys.readouterr().out
    assert main(["--model", "what", "--data", str(data_dir)], own) == 1
    assert "no model called 'what'" in capsys.readouterr().err
    assert main(["--data", str(data_dir)], own) == 1
    assert "not in COCO's format" in capsys.readouterr().err
