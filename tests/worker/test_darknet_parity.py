"""Whole networks against OpenCV's Darknet importer, on both engines, and final boxes against published ones."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.catalog import load_catalog
from shared.entries import DarknetEntry
from shared.settings import ROOT, Settings
from tests.worker.conftest import darknet_entry
from tests.worker.darknet_files import Floats, largest_difference, noise, opencv_heads, write_random_weights
from tests.worker.environments import on_tensorflow
from worker.engines import Recipe, open_session
from worker.models.base import Image
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.detector import DarknetDetector
from worker.models.darknet.network import build_network
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import read_weights
from worker.models.detections import Detections

TRAINED = ("yolo-fastest-1.1-xl", "yolo-fastest-1.1")
#: with the side of the input: smaller than the cfg says, which changes no weight and spares time
SEEDED = {"yolov3": 256, "yolov3-tiny": 416, "yolov3-spp": 256}
NETWORKS = (*TRAINED, *SEEDED)
#: with a quarter of the filters: as deep as the others and quicker to test
NARROW = frozenset({"yolov3-spp"})
TOLERANCE = 1e-3
PHOTOS = ("dog", "eagle", "giraffe", "horses", "person", "kite", "scream")


@dataclass(frozen=True)
class Network:
    cfg: Path
    weights: Path
    plan: Plan
    batch: Floats
    expected: list[Floats]


def read_photo(path: Path) -> Image:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.ascontiguousarray(pixels[..., ::-1], np.uint8)


def narrowed(cfg: Path, folder: Path) -> Path:
    """A copy of a cfg with a quarter of the filters everywhere but in the heads."""
    text = re.sub(r"^filters=(\d+)$", lambda match: narrower(int(match[1])), cfg.read_text(), flags=re.MULTILINE)
    (folder / cfg.name).write_text(text)
    return folder / cfg.name


def narrower(filters: int) -> str:
    return f"filters={filters if filters == 255 else filters // 4}"


@pytest.fixture(scope="module")
def networks(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Network]]:
    folder = tmp_path_factory.mktemp("networks")
    found = {}
    for name in NETWORKS:
        cfg = data_dir / "weights" / f"{name}.cfg"
        if name in NARROW:
            cfg = narrowed(cfg, folder)
        if name in SEEDED:
            plan = make_plan(load_cfg(cfg), (SEEDED[name], SEEDED[name]))
            weights = write_random_weights(folder / f"{name}.weights", plan)
        else:
            plan = make_plan(load_cfg(cfg))
            weights = data_dir / "weights" / f"{name}.weights"
        batch = noise(plan)
        found[name] = Network(cfg, weights, plan, batch, opencv_heads(cfg, weights, plan, batch))
    yield found
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_heads_on_openvino(networks: dict[str, Network], name: str, settings: Settings) -> None:
    network = networks[name]
    recipe = Recipe(
        name,
        lambda: build_network(network.plan, read_weights(network.weights, network.plan)),
        outputs=len(network.plan.heads),
    )
    session = open_session(recipe, settings)
    assert (session.engine, session.precision) == ("openvino", "f32")
    difference = largest_difference(session.run(network.batch), network.expected)
    print(f"{name}: {difference:.1e} of {max(np.abs(head).max() for head in network.expected):.1f}")
    assert difference < TOLERANCE


@pytest.fixture(scope="module")
def tensorflow_heads(networks: dict[str, Network], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Floats]]:
    """The same networks in a process of its own with TensorFlow, which does not share one with other backends."""
    if not list(Path(sys.prefix).glob("lib/python*/site-packages/tensorflow/__init__.py")):
        pytest.skip("TensorFlow is not installed")
    folder = tmp_path_factory.mktemp("tensorflow")
    for name, network in networks.items():
        np.save(folder / f"{name}.batch.npy", network.batch)
    files = [argument for name, net in networks.items() for argument in (name, str(net.cfg), str(net.weights))]
    subprocess.run(
        [sys.executable, "-m", "tests.worker.keras_heads", str(folder), *files],
        check=True,
        env=on_tensorflow(),
        timeout=180,
    )
    return {name: [np.load(path) for path in sorted(folder.glob(f"{name}.head?.npy"))] for name in networks}


@pytest.mark.parametrize("name", NETWORKS)
def test_raw_heads_on_tensorflow(
    networks: dict[str, Network], tensorflow_heads: dict[str, list[Floats]], name: str
) -> None:
    difference = largest_difference(tensorflow_heads[name], networks[name].expected)
    print(f"{name}: {difference:.1e}")
    assert difference < TOLERANCE


def iou(a: Floats, b: Floats) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def assert_same_objects(found: Detections, expected: list[dict[str, Any]], size: tuple[int, int]) -> None:
    """The same number of objects, and for each expected one an own one that agrees with it."""
    height, width = size
    ours = [(found.labels[c], s, b) for c, s, b in zip(found.class_ids, found.scores, found.boxes, strict=True)]
    assert sorted(label for label, _, _ in ours) == sorted(each["label"] for each in expected)
    for each in expected:
        x, y, w, h = each["box_xywh"]
        box = np.asarray([max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)], np.float32)
        match = max((own for own in ours if own[0] == each["label"]), key=lambda own: iou(own[2], box))
        assert iou(match[2], box) >= 0.98
        assert match[1] == pytest.approx(each["score"], abs=0.01)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("photo", PHOTOS)
def test_boxes_on_photos(
    data_dir: Path, engine_cache: Path, settings: Settings, name: str, resize: str, photo: str
) -> None:
    published = json.loads((data_dir / "expected" / "opencv_dnn_yolo-fastest.json").read_text())["models"][name]
    expected = published["stretch" if resize == "stretch" else "letterbox127"][f"{photo}.jpg"]
    own = settings.model_copy(update={"weights_dir": data_dir / "weights", "engine_cache_dir": engine_cache})
    model = DarknetDetector.load(darknet_entry(name, resize=resize), own)
    image = read_photo(data_dir / "photos" / f"{photo}.jpg")
    assert_same_objects(model.detect(image, score=0.25, iou=0.45), expected, image.shape[:2])


def test_published_figures_of_the_original_yolov3(data_dir: Path, engine_cache: Path, settings: Settings) -> None:
    """OpenCV's own test of `yolov3.weights` on dog.jpg: squashed to 416, score above 0.24, suppression at 0.4."""
    installed = Settings(_env_file=None).weights_dir
    entry = load_catalog(ROOT / "weights" / "catalog.toml")["yolov3"]
    assert isinstance(entry, DarknetEntry)
    if missing := entry.missing_files(installed):
        pytest.skip(f"the original YOLOv3 is not installed: {', '.join(file.name for file in missing)}")
    own = settings.model_copy(update={"weights_dir": installed, "engine_cache_dir": engine_cache})
    squashed = entry.model_copy(update={"resize": "stretch", "image_size": (416, 416)})
    image = read_photo(data_dir / "photos" / "dog.jpg")
    found = DarknetDetector.load(squashed, own).detect(image, score=0.24, iou=0.4)
    height, width = image.shape[:2]
    expected = {
        "dog": (0.998836, [0.160024, 0.389964, 0.417885, 0.943716]),
        "bicycle": (0.987908, [0.150913, 0.221933, 0.742255, 0.746261]),
        "truck": (0.952983, [0.614621, 0.150257, 0.901368, 0.289251]),
    }
    assert [found.labels[class_id] for class_id in found.class_ids] == list(expected)
    for score, box, (wanted, corners) in zip(found.scores, found.boxes, expected.values(), strict=True):
        assert score == pytest.approx(wanted, abs=1e-3)
        assert iou(box, np.asarray(corners, np.float32) * [width, height, width, height]) >= 0.99
