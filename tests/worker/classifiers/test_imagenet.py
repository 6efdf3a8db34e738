"""The real MobileNetV2 on real photos, and the job function around it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from shared.errors import BadInputError
from shared.jobs import InputFile, JobOptions, JobRequest, input_key, new_job_id, result_key
from shared.queue import JobQueue
from shared.results import ImageResult
from shared.settings import ROOT, Settings
from shared.storage import Storage, open_storage
from tests.worker.classifiers.conftest import NPZ, classifier_entry
from tests.worker.running import run
from worker import pipeline
from worker.findings import explain
from worker.models.base import Prepared
from worker.models.classifications import Classifications
from worker.models.classifiers.errors import ClassifierError
from worker.models.classifiers.model import ClassifierModel

GREY = 127


def photo(data_dir: Path, name: str) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(data_dir / "photos" / name))
    assert pixels is not None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("elephant.jpg", {"African elephant"}),
        ("bus.jpg", {"minibus", "trolleybus"}),
        ("2383514521_1fc8d7b0de_z.jpg", {"zebra"}),
        ("3862500489_6fd195d183_z.jpg", {"racket"}),
        ("262985539_1709e54576_z.jpg", {"dock"}),
        ("zidane.jpg", {"suit"}),
        ("street.jpg", {"cab"}),
    ],
)
def test_what_a_photo_shows(imagenet: ClassifierModel, data_dir: Path, name: str, expected: set[str]) -> None:
    found = imagenet.classify(photo(data_dir, name))
    assert len(found.labels) == 1000, "without the background"
    assert found.labels[0].startswith("tench")
    assert found.scores.sum() == pytest.approx(1, abs=1e-4)
    assert found.labels[found.best(1)[0]].split(",")[0] in expected


def test_three_elephants(imagenet: ClassifierModel, data_dir: Path) -> None:
    found = imagenet.classify(photo(data_dir, "elephant.jpg")).to_results(3)
    assert [each.label.split(",")[0] for each in found] == ["African elephant", "tusker", "Indian elephant"]
    assert found[0].score > 0.5


@pytest.mark.parametrize(
    "name", ["elephant.jpg", "eagle.jpg", "bus.jpg", "2383514521_1fc8d7b0de_z.jpg", "3627527276_6fe8cd9bfe_z.jpg"]
)
def test_the_hottest_region_matters_most(imagenet: ClassifierModel, data_dir: Path, name: str) -> None:
    """Grey over the hottest sixth of a photo costs the class more than the same region moved anywhere else."""
    image = photo(data_dir, name)
    prepared = imagenet.preprocess(image)
    outputs = imagenet.infer(prepared)
    class_id = int(np.argmax(outputs[0][0]))
    heat = imagenet.explain(outputs, prepared, class_id)
    assert heat.shape == image.shape[:2]
    assert (heat.min(), heat.max()) == (pytest.approx(0, abs=0.2), pytest.approx(1))
    hottest = heat >= np.quantile(heat, 5 / 6)

    def score_without(region: NDArray[np.bool_]) -> float:
        blank = image.copy()
        blank[region] = GREY
        return float(imagenet.classify(blank).scores[class_id])

    rng = np.random.default_rng(0)
    moved = [
        np.roll(hottest, (rng.integers(hottest.shape[0]), rng.integers(hottest.shape[1])), (0, 1)) for _ in "12345678"
    ]
    others = [score_without(region) for region in moved]
    assert score_without(hottest) < 0.7 * float(np.mean(others))
    assert sum(score_without(hottest) < other for other in others) >= 7


def test_each_class_has_its_own_place(imagenet: ClassifierModel, data_dir: Path) -> None:
    """Zebra left, elephant right: the evidence for each lies on its own half."""
    left = cv2.resize(photo(data_dir, "2383514521_1fc8d7b0de_z.jpg"), (400, 400))
    right = cv2.resize(photo(data_dir, "elephant.jpg"), (400, 400))
    image = np.concatenate([left, right], axis=1).astype(np.uint8)
    prepared = imagenet.preprocess(image)
    outputs = imagenet.infer(prepared)
    names = [label.split(",")[0] for label in imagenet.labels]
    zebra = imagenet.explain(outputs, prepared, names.index("zebra"))
    elephant = imagenet.explain(outputs, prepared, names.index("African elephant"))
    assert np.argmax(zebra.max(axis=0)) < 400 <= np.argmax(elephant.max(axis=0))
    assert zebra[:, :400].mean() > 1.5 * zebra[:, 400:].mean()
    assert elephant[:, 400:].mean() > 1.5 * elephant[:, :400].mean()


def test_a_converted_model_needs_no_keras(imagenet: ClassifierModel, data_dir: Path, engine_cache: Path) -> None:
    """Cold start: the second worker loads it without Keras, let alone TensorFlow, and explains without them."""
    imagenet.explain(imagenet.infer(imagenet.preprocess(np.zeros((9, 9, 3), np.uint8))), _nowhere(imagenet), 5)
    code = f"""
import sys
import numpy as np
from shared.settings import Settings
from pathlib import Path
from tests.worker.classifiers.conftest import NPZ, classifier_entry
from worker.models.registry import load_model
settings = Settings(data_dir=Path("/nowhere"), weights_dir=Path({str(data_dir / "weights")!r}),
    engine_cache_dir=Path({str(engine_cache)!r}), engine="openvino", precision="f32", threads=1)
model = load_model(classifier_entry(NPZ, "imagenet_labels.txt", architecture="mobilenet_v2"), settings)
prepared = model.preprocess(np.zeros((9, 9, 3), np.uint8))
model.explain(model.infer(prepared), prepared, 5)
assert not {{"keras", "tensorflow", "h5py"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]


def _nowhere(model: ClassifierModel) -> Prepared:
    return model.preprocess(np.zeros((9, 9, 3), np.uint8))


def test_weights_of_another_kind(data_dir: Path, settings: Settings, tmp_path: Path) -> None:
    own = settings.model_copy(update={"weights_dir": tmp_path})
    (tmp_path / "classes.json").write_text("[" + ", ".join(f'"{number}"' for number in range(1000)) + "]")
    entry = classifier_entry("a.npz", architecture="mobilenet_v2")
    with np.load(data_dir / "weights" / NPZ) as file:
        arrays = dict(file)
    wrong: dict[str, dict[str, NDArray[np.float32] | None]] = {
        r"block_3_expand/kernel has the shape \(1, 1, 5, 144\)": {
            "block_3_expand/kernel": np.zeros((1, 1, 5, 144), np.float32)
        },
        "has no block_16_project/bias": {"block_16_project/bias": None},
    }
    for message, changes in wrong.items():
        kept = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
        np.savez(tmp_path / "a.npz", **kept)
        with pytest.raises(ClassifierError, match=message):
            ClassifierModel.load(entry, own)
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(ClassifierError, match=r"not a \.npz file"):
        ClassifierModel.load(entry, own)
    with pytest.raises(ClassifierError, match="for mobilenet_v2 only"):
        ClassifierModel.load(classifier_entry("a.npz", architecture="resnet50"), own)


# -- the job function


@pytest.fixture
def job_settings(redis_url: str, tmp_path: Path, data_dir: Path, engine_cache: Path) -> Settings:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        f"""
default = "mobilenet"
[models.mobilenet]
family = "classifier"
title = "MobileNetV2"
architecture = "mobilenet_v2"
weights = {{ name = "{NPZ}" }}
classes = {{ name = "imagenet_labels.txt" }}
"""
    )
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        weights_dir=data_dir / "weights",
        catalog=catalog,
        engine_cache_dir=engine_cache,
        precision="f32",
        default_model=None,
        threads=1,
    )


@pytest.fixture
def storage(job_settings: Settings) -> Iterator[Storage]:
    about = pipeline.set_up(job_settings)
    assert (about["engine"], about["models"]) == ("openvino", ["mobilenet"])
    yield open_storage(job_settings)
    assert pipeline._tools is not None
    pipeline._tools.jobs.redis.close()
    pipeline._tools = None


def run_job(
    storage: Storage, connection: redis.Redis, settings: Settings, data: bytes, **options: object
) -> ImageResult:
    job_id = new_job_id()
    key = input_key(job_id, ".jpg")
    storage.put(key, data, "image/jpeg")
    request = JobRequest(
        id=job_id,
        input=InputFile(key=key, filename="a.jpg", content_type="image/jpeg", bytes=len(data), sha256="5" * 64),
        model="mobilenet",
        options=JobOptions.model_validate(options),
        cache_key="c" * 64,
        created_at=datetime.now(UTC),
    )
    JobQueue(connection, settings).submit([request])
    run(connection, settings, request)
    return ImageResult.from_json(storage.get(result_key(job_id, "result.json")))


def test_a_job(storage: Storage, job_settings: Settings, connection: redis.Redis, data_dir: Path) -> None:
    data = (data_dir / "photos" / "elephant.jpg").read_bytes()
    result = run_job(storage, connection, job_settings, data, top=5)
    assert (result.task, len(result.classes), result.detections, result.explained) == ("classification", 5, [], None)
    assert result.classes[0].label.startswith("African elephant")
    assert result.text.startswith("This is most likely an African elephant")
    assert [artifact.name for artifact in result.artifacts] == ["annotated.jpg", "thumbnail.jpg"]
    assert result.options == {"top": 5, "explain": False, "explain_class": ""}


@pytest.mark.parametrize("asked", ["", "tusker", "African elephant, Loxodonta africana", "TUSKER"])
def test_a_job_that_explains(
    storage: Storage, job_settings: Settings, connection: redis.Redis, data_dir: Path, asked: str
) -> None:
    data = (data_dir / "photos" / "elephant.jpg").read_bytes()
    result = run_job(storage, connection, job_settings, data, explain=True, explain_class=asked)
    assert result.explained is not None
    assert result.explained.label.casefold() == (asked.casefold() or result.classes[0].label.casefold())
    assert result.explained in result.classes
    heatmap = next(artifact for artifact in result.artifacts if artifact.name == "heatmap.jpg")
    stored = storage.get(result_key(result.id, "heatmap.jpg"))
    picture = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (heatmap.height, heatmap.width, 3) == (result.source.height, result.source.width, 3)


@pytest.mark.parametrize(("scores", "expected"), [([0.2, 0.5, 0.3], 2), ([0.3, 0.5, 0.2], 0)])
def test_of_two_classes_of_one_name_the_more_probable_is_explained(
    imagenet: ClassifierModel, data_dir: Path, scores: list[float], expected: int
) -> None:
    prepared = imagenet.preprocess(photo(data_dir, "eagle.jpg"))
    outputs = imagenet.infer(prepared)
    prediction = Classifications(np.array(scores, np.float32), ("crane", "eagle", "crane"))
    for asked in ("crane", "CRANE"):
        explanation = explain(imagenet, outputs, prepared, prediction, JobOptions(explain=True, explain_class=asked))
        assert explanation is not None
        assert explanation.class_id == expected


def test_a_class_that_is_not_there(
    storage: Storage, job_settings: Settings, connection: redis.Redis, data_dir: Path
) -> None:
    data = (data_dir / "photos" / "elephant.jpg").read_bytes()
    with pytest.raises(BadInputError, match="unicorn") as caught:
        run_job(storage, connection, job_settings, data, explain=True, explain_class="unicorn")
    assert caught.value.code == "invalid_option"
    assert run_job(storage, connection, job_settings, data, explain_class="unicorn").explained is None
