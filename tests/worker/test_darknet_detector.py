"""Pre- and post-processing, the detector and the cache of models."""

import gc
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.entries import AnyEntry
from shared.errors import BadInputError, PublicError
from shared.settings import Settings
from tests.worker.conftest import catalog_of, darknet_entry
from tests.worker.darknet_files import tiny_cfg, write_random_weights
from worker.models import registry
from worker.models.base import Model, Placement
from worker.models.darknet.cfg import Yolo, parse_cfg
from worker.models.darknet.decode import Candidates, decode, suppress
from worker.models.darknet.detector import DarknetDetector
from worker.models.darknet.plan import make_plan
from worker.models.darknet.preprocess import prepare
from worker.models.detections import Detections
from worker.models.errors import ModelFileError
from worker.models.files import load_labels
from worker.models.registry import ModelCache, load_model

LABELS = ("cat", "dog")


def array(*values: object) -> np.ndarray:
    return np.asarray(values, np.float32)


# -- detections


def test_nothing_found() -> None:
    empty = Detections.empty(LABELS)
    assert len(empty) == 0
    assert empty.to_results((5, 5)) == []


def test_detections_are_clipped_and_sorted() -> None:
    boxes = array([-5, -5, 10, 10], [90, 40, 130, 70], [200, 10, 220, 20], [3.14159, 2, 5, 5.0051])
    found = Detections.within((50, 100), boxes, array(0.5, 0.75, 0.9, 0.1234567), np.asarray([0, 1, 1, 0]), LABELS)
    results = found.to_results((50, 100))
    assert [(each.label, each.class_id) for each in results] == [("dog", 1), ("cat", 0), ("cat", 0)]
    assert [each.box for each in results] == [(90, 40, 100, 50), (0, 0, 10, 10), (3.14, 2, 5, 5.01)]
    assert [each.score for each in results] == [0.75, 0.5, 0.123457]


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids"),
    [((2, 4), (3,), (3,)), ((3, 5), (3,), (3,)), ((3, 4), (3,), (2,)), ((3, 4), (3, 1), (3,))],
)
def test_arrays_that_do_not_belong_together(
    boxes: tuple[int, ...], scores: tuple[int, ...], class_ids: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"are not of \(N, 4\)"):
        Detections(np.zeros(boxes, np.float32), np.zeros(scores, np.float32), np.zeros(class_ids, np.int64), LABELS)


# -- preprocessing


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((576, 768), Placement((576, 768), 0, 40, 320, 240)),
        ((768, 576), Placement((768, 576), 40, 0, 240, 320)),
        ((500, 500), Placement((500, 500), 0, 0, 320, 320)),
        ((1, 5000), Placement((1, 5000), 0, 159, 320, 1)),
        ((5000, 1), Placement((5000, 1), 159, 0, 1, 320)),
        ((1, 1), Placement((1, 1), 0, 0, 320, 320)),
    ],
)
def test_letterbox(size: tuple[int, int], expected: Placement) -> None:
    prepared = prepare(np.full((*size, 3), 255, np.uint8), 320, 320, "letterbox")
    assert prepared.placement == expected
    assert prepared.batch.shape == (1, 320, 320, 3)
    assert prepared.batch.dtype == np.float32
    inside = np.zeros((320, 320), bool)
    inside[expected.top : expected.top + expected.height, expected.left : expected.left + expected.width] = True
    assert (prepared.batch[0][inside] == 1).all()
    assert np.allclose(prepared.batch[0][~inside], 0.5, atol=0.003)


def test_stretch_is_what_opencv_gives() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    expected = cv2.dnn.blobFromImage(image, 1 / 255, (96, 64)).transpose(0, 2, 3, 1)
    prepared = prepare(image, 64, 96, "stretch")
    np.testing.assert_allclose(prepared.batch, expected, atol=1e-6)
    assert prepared.placement == Placement((40, 70), 0, 0, 96, 64)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_there_and_back(resize: str) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    image[60:150, 100:300] = 255
    prepared = prepare(image, 320, 320, "stretch" if resize == "stretch" else "letterbox")
    rows, columns = np.nonzero(prepared.batch[0, ..., 0] > 0.9)
    box = array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_allclose(prepared.placement.to_original(box)[0], [100, 60, 300, 150], atol=2)


# -- decoding


def logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_decoding_follows_the_paper() -> None:
    head = Yolo(((10, 20), (30, 40)), classes=2, scale_x_y=1.0)
    raw = np.full((1, 4, 5, 2, 7), -20, np.float32)
    raw[0, 3, 1, 1] = [0.3, -0.4, 0.5, -0.6, 2.0, 1.0, -1.0]
    found = decode([raw.reshape(1, 4, 5, 14)], [head], (64, 160), score=0.2)
    assert found.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.scores, [logistic(2) * logistic(1), logistic(2) * logistic(-1)], rtol=1e-6)
    x, y = (logistic(0.3) + 1) * 160 / 5, (logistic(-0.4) + 3) * 64 / 4
    w, h = 30 * np.exp(0.5), 40 * np.exp(-0.6)
    np.testing.assert_allclose(found.boxes[0], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], rtol=1e-5)
    np.testing.assert_array_equal(found.boxes[0], found.boxes[1])


def test_scale_x_y_stretches_the_cell() -> None:
    raw = np.full((1, 2, 2, 6), 9, np.float32)
    raw[..., 2:4] = 0
    plain, scaled = (decode([raw], [Yolo(((8, 8),), 1, s)], (32, 32), 0.5).boxes for s in (1.0, 1.2))
    shift = (1.2 * logistic(9) - 0.1 - logistic(9)) * 16
    np.testing.assert_allclose(scaled - plain, np.full((4, 4), shift), atol=1e-4)


def test_extreme_outputs_do_no_harm() -> None:
    raw = np.full((1, 2, 2, 6), 1e30, np.float32)
    raw[0, 0, 0] = np.nan
    raw[0, 0, 1] = -1e30
    found = decode([raw], [Yolo(((8, 8),), 1, 1.0)], (32, 32), 0.5)
    assert np.isfinite(found.boxes).all()
    assert found.scores.tolist() == [1, 1]
    assert len(decode([raw * np.nan], [Yolo(((8, 8),), 1, 1.0)], (32, 32), 0.0).scores) == 0


def candidates(*rows: tuple[list[float], float, int]) -> Candidates:
    boxes, scores, class_ids = zip(*rows, strict=True)
    return Candidates(array(*boxes), array(*scores), np.asarray(class_ids, np.int64))


def test_suppression_is_class_wise() -> None:
    same, shifted, far = [0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 0.0, 60.0, 10.0]
    found = candidates((same, 0.6, 0), (shifted, 0.9, 0), (same, 0.7, 1), (far, 0.5, 0))
    kept = suppress(found, score=0.1, iou=0.45, max_detections=100)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert kept.class_ids.tolist() == [0, 1, 0]
    assert len(suppress(found, score=0.1, iou=0.9, max_detections=100).scores) == 4
    assert suppress(found, score=0.1, iou=0.45, max_detections=2).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(suppress(found, score=0.95, iou=0.45, max_detections=2).scores) == 0
    assert len(suppress(found, score=0.1, iou=0.45, max_detections=0).scores) == 0


def test_suppression_of_very_many() -> None:
    random = np.random.default_rng(0)
    corner = random.uniform(0, 1000, (20000, 2)).astype(np.float32)
    found = Candidates(np.hstack([corner, corner + 1]), random.random(20000, np.float32), random.integers(0, 80, 20000))
    assert len(suppress(found, score=0.0, iou=0.45, max_detections=100).scores) == 100


# -- the detector and the cache


@pytest.fixture
def installed(settings: Settings) -> Settings:
    """A tiny model called "tiny"."""
    settings.weights_dir.mkdir()
    text = tiny_cfg("[maxpool]\nsize=2\nstride=2", height=32, width=32)
    (settings.weights_dir / "tiny.cfg").write_text(text)
    write_random_weights(settings.weights_dir / "tiny.weights", make_plan(parse_cfg(text)))
    (settings.weights_dir / "one.names").write_text("thing\n\n")
    return settings


TINY = darknet_entry("tiny", classes="one.names")


def test_a_detector_from_files(installed: Settings) -> None:
    model = DarknetDetector.load(TINY, installed)
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    prepared = model.preprocess(image)
    outputs = model.infer(prepared)
    assert [output.shape for output in outputs] == [(1, 16, 16, 12)]
    found = model.postprocess(outputs, prepared, score=0.3, iou=0.45, max_detections=7)
    assert len(found) == 7
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() > 0.3
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [80, 48, 80, 48]).all()
    assert found.to_results((48, 80)) == model.detect(image, score=0.3, max_detections=7).to_results((48, 80))
    info = model.info()
    assert (info.name, info.family, info.engine, info.precision) == ("tiny", "darknet", "openvino", "f32")
    assert info.input_size == (32, 32)
    assert len(info.weights_sha256) == 64
    model.warm_up()


def test_the_entry_may_change_the_size(installed: Settings) -> None:
    model = DarknetDetector.load(TINY.model_copy(update={"image_size": (64, 96), "resize": "letterbox"}), installed)
    assert model.info().input_size == (64, 96)
    prepared = model.preprocess(np.zeros((10, 10, 3), np.uint8))
    assert (prepared.batch.shape, prepared.placement.left) == ((1, 64, 96, 3), 16)
    assert model.infer(prepared)[0].shape == (1, 32, 48, 12)


def test_labels(tmp_path: Path) -> None:
    (tmp_path / "a.names").write_bytes(b"\xef\xbb\xbfcat\r\n traffic light \r\n\r\n")
    assert load_labels(tmp_path / "a.names") == ("cat", "traffic light")
    (tmp_path / "a.names").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelFileError, match="not a text file"):
        load_labels(tmp_path / "a.names")


def test_the_cache_keeps_what_was_used_last(installed: Settings) -> None:
    entries = [TINY.model_copy(update={"name": name}) for name in "abc"]
    cache = ModelCache(lambda: catalog_of(*entries), installed.model_copy(update={"max_resident_models": 2}))
    first = cache.get("a")
    cache.get("b")
    assert cache.get("a") is first
    cache.get("c")
    assert cache.resident == ("a", "c")
    assert cache.get("a") is first


def test_what_leaves_the_memory_is_gone_before_the_next_is_loaded(
    installed: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two large models at once may be more than there is memory."""
    entries = {name: TINY.model_copy(update={"name": name}) for name in "ab"}
    cache = ModelCache(lambda: catalog_of(*entries.values()), installed.model_copy(update={"max_resident_models": 1}))
    before = weakref.ref(cache.get("a"))

    def load(entry: AnyEntry, settings: Settings) -> Model:
        gc.collect()
        assert before() is None
        return load_model(entry, settings)

    monkeypatch.setattr(registry, "load_model", load)
    before = weakref.ref(cache.get("b"))
    entries["b"] = entries["b"].model_copy(update={"title": "Another"})
    cache.get("b")
    assert cache.resident == ("b",)


def test_a_model_that_is_not_there_drives_out_none(installed: Settings) -> None:
    cache = ModelCache(
        lambda: catalog_of(TINY, darknet_entry("other")), installed.model_copy(update={"max_resident_models": 1})
    )
    cache.get("tiny")
    with pytest.raises(BadInputError):
        cache.get("other")
    assert cache.resident == ("tiny",)


def test_unknown_and_missing_models(installed: Settings) -> None:
    cache = ModelCache(lambda: catalog_of(TINY, darknet_entry("other")), installed)
    with pytest.raises(BadInputError) as unknown:
        cache.get("what")
    assert unknown.value.code == "unknown_model"
    with pytest.raises(BadInputError, match="make weights MODEL=other") as missing:
        cache.get("other")
    assert missing.value.code == "model_not_installed"
    assert str(installed.weights_dir) not in missing.value.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tiny.cfg", b"[net]", "'height' is missing"),
        ("tiny.weights", b"\0" * 40, "layer 0 .convolutional. takes 248 values"),
        ("one.names", b"thing\nanother\n", "one.names names 2 classes, the network has 1"),
    ],
)
def test_broken_models(installed: Settings, name: str, content: bytes, message: str) -> None:
    (installed.weights_dir / name).write_bytes(content)
    with pytest.raises(PublicError, match=message) as error:
        ModelCache(lambda: catalog_of(TINY), installed).get("tiny")
    assert error.value.code == "model_broken"
    assert not isinstance(error.value, BadInputError)
    assert str(installed.weights_dir) not in error.value.message


def test_weights_that_are_not_those_of_the_catalogue(installed: Settings) -> None:
    weights = TINY.weights.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(PublicError, match="another sha256 than the catalogue says"):
        ModelCache(lambda: catalog_of(TINY.model_copy(update={"weights": weights})), installed).get("tiny")
