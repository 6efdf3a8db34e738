"""The sample picture of the start page: small, and every model finds people in it."""

from pathlib import Path

import cv2
import numpy as np

from shared.catalog import load_catalog
from shared.settings import ROOT, Settings
from tests.worker.conftest import darknet_entry
from worker.models.base import DetectionModel
from worker.models.darknet.detector import DarknetDetector
from worker.models.registry import ModelCache
from worker.sample.__main__ import SAMPLE
from worker.sample.figures import make_figure
from worker.sample.light import Camera, draw_figure


def people(model: DetectionModel) -> int:
    """How many are found at the default score."""
    image = cv2.imread(str(SAMPLE))
    assert image is not None
    found = model.detect(np.ascontiguousarray(image[..., ::-1]), score=0.25, iou=0.45, max_detections=100)
    return sum(found.labels[class_id] == "person" for class_id in found.class_ids.tolist())


def test_the_models_that_ship_find_people_in_it(settings: Settings) -> None:
    catalog = load_catalog(ROOT / "weights/catalog.toml")
    cache = ModelCache(lambda: catalog, settings.model_copy(update={"weights_dir": ROOT / "weights"}))
    for name in ("person", "person-masks"):
        model = cache.get(name)
        assert isinstance(model, DetectionModel)
        assert people(model) == 4, name


def test_a_coco_model_does_too(settings: Settings, data_dir: Path) -> None:
    own = settings.model_copy(update={"weights_dir": data_dir / "weights"})
    assert people(DarknetDetector.load(darknet_entry("yolo-fastest-1.1-xl"), own)) == 4


def test_it_is_small() -> None:
    assert SAMPLE.stat().st_size < 150_000


def test_a_figure_is_drawn_where_it_stands() -> None:
    camera = Camera(96, 64, eye=1.55, horizon=0.42, focal=90)
    picture = np.full((64, 96, 3), 0.5, np.float32)
    draw_figure(picture, camera, make_figure(np.random.default_rng(0), (0.5, 5.0)))
    rows, columns = np.nonzero(np.abs(picture - 0.5).max(axis=2) > 0.05)
    # half a metre to the right of the middle, from 1.75 m down to the ground, and its shadow
    assert abs(np.median(columns[rows < 40]) - (48 + 0.5 * 90 / 5)) < 3
    assert abs(rows.min() - (0.42 * 64 - 0.2 * 90 / 5)) < 3
    assert abs(rows.max() - (0.42 * 64 + 1.55 * 90 / 5)) < 6
    assert np.isfinite(picture).all()
