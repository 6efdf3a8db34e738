"""From data sets to pictures of one class each, and what is said of how well they are told apart."""

import tomllib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.entries import ClassifierEntry
from shared.runs import RunRequest
from tests.worker.training.builders import write_image, write_voc
from worker.train import main
from worker.training.classifiers.config import ClassificationConfig
from worker.training.classifiers.data import class_weights, divide
from worker.training.classifiers.measuring import figures, table
from worker.training.classifiers.pictures import Pictures
from worker.training.datasets.description import Dataset, make_sample
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.pixels import read_pixels
from worker.training.datasets.reading import read_dataset
from worker.training.entry_text import entry_text

CONFIG = ClassificationConfig(val=0.25, test=0.25)


@pytest.fixture
def street(tmp_path: Path) -> Dataset:
    """Twelve photos with boxes of three classes, one of them rare; some boxes are too small to learn from."""
    root = tmp_path / "street"
    for number in range(12):
        name = f"{number:02}"
        write_image(root / "JPEGImages" / f"{name}.jpg", size=(120, 160), seed=number)
        objects = [("car", (10, 10, 60, 50)), ("person", (80, 10, 110, 90)), ("person", (120, 20, 130, 100))]
        if number % 3 == 0:
            objects.append(("dog", (20, 70, 60, 100)))
        write_voc(root, name, objects, size=(120, 160))
    return read_dataset(root)


def test_boxes_become_pictures(street: Dataset) -> None:
    data = divide(street, None, CONFIG)
    assert data.labels == ("car", "dog", "person")
    parts = (data.splits.train, data.splits.val, data.splits.test)
    counts = Counter(data.labels[sample.class_ids[0]] for part in parts for sample in part)
    assert counts == {"car": 12, "dog": 4, "person": 12}  # a person ten pixels wide is none
    assert all(len(sample.boxes) == len(sample.class_ids) == 1 for part in parts for sample in part)
    photos = [{sample.path for sample in part} for part in parts]
    assert not photos[0] & photos[1]
    assert not photos[0] & photos[2]
    assert not photos[1] & photos[2]
    # the photos of the rare class are spread over all parts
    assert all(any(sample.class_ids[0] == 1 for sample in part) for part in parts)
    assert "JPEGImages/00.jpg#10,10,60,50" in {name for part in data.files.values() for name in part}
    assert divide(street, None, CONFIG).files == data.files


def test_chosen_classes(street: Dataset) -> None:
    data = divide(street, ["person", "dog"], CONFIG)
    assert data.labels == ("person", "dog")
    assert {int(sample.class_ids[0]) for sample in data.splits.train} == {0, 1}
    with pytest.raises(DatasetError, match="street has no picture of cat"):
        divide(street, ["person", "cat"], CONFIG)
    with pytest.raises(DatasetError, match="fewer than two classes"):
        divide(street, ["person"], CONFIG)


def test_each_class_is_split_by_itself(tmp_path: Path) -> None:
    samples = tuple(make_sample(tmp_path / f"{n:03}.png", None, [], [int(n >= 40)]) for n in range(48))
    data = divide(Dataset(tmp_path, "classification", "a folder a class", ("many", "few"), samples), None, CONFIG)
    rare = [sum(int(sample.class_ids[0]) for sample in part) for part in (data.splits.val, data.splits.test)]
    assert rare == [2, 2]
    weights = class_weights(np.asarray([0, 0, 0, 1], np.int64), 3)
    np.testing.assert_allclose(weights, [4 / 6, 2, 0])


def test_a_box_is_cut_out(tmp_path: Path) -> None:
    photo = np.zeros((100, 200, 3), np.uint8)
    photo[20:60, 100:140] = (0, 0, 255)  # OpenCV's order: red
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), photo)
    sample = make_sample(path, None, [(100, 20, 140, 60)], [1])
    beyond = make_sample(path, None, [(150, 50, 260, 130)], [0])
    whole = make_sample(path, None, [], [0])
    pictures = Pictures([sample, beyond, whole], (96, 96))
    red = pictures.take([0])[0, ..., 0] > 128
    # a tenth of the box' sides is around it
    assert abs(red.mean() - (1 / 1.2) ** 2) < 0.02
    assert red[48, 48]
    assert not red[0].any()
    assert pictures.take([1, 2]).shape == (2, 96, 96, 3)
    assert pictures.class_ids.tolist() == [1, 0, 0]
    np.testing.assert_array_equal(pictures.take([2])[0], cv2.resize(read_pixels(path), (96, 96)))


def test_figures_and_table() -> None:
    truth = np.asarray([0, 0, 0, 0, 1, 1], np.int64)
    said = np.asarray([0, 0, 0, 1, 1, 0])
    probabilities = np.where(np.eye(3)[said] > 0, 0.8, 0.1).astype(np.float32)
    found = figures(truth, probabilities)
    assert found == {
        "accuracy": round(4 / 6, 5),
        "f1": round((0.75 + 0.5) / 2, 5),
        "loss": round(float(-(4 * np.log(0.8) + 2 * np.log(0.1)) / 6), 5),
    }
    made = table(("cat", "dog", "emu"), truth, probabilities)
    assert made.confusion == ((3, 1, 0), (1, 1, 0), (0, 0, 0))
    assert made.per_class["cat"].model_dump() == {"precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4}
    assert made.per_class["emu"].model_dump() == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_an_entry_is_toml_whatever_the_classes_are_called(tmp_path: Path) -> None:
    description = 'Told apart: "quoted", back\\slash, line\nbreak, \x7f, 猫, 🐈'
    file = {"weights": {"name": "it.keras"}, "classes": {"name": "it.json"}}
    fed = {"architecture": "saved", "image_size": (64, 96), "preprocessing": "tf"}
    entry = ClassifierEntry.model_validate({"name": "it.1", "title": "It", "description": description, **file, **fed})
    for name in ("it.keras", "it.json"):
        (tmp_path / name).write_bytes(b"123")
    written = tomllib.loads(entry_text(tmp_path, entry))["models"]["it.1"]
    read = ClassifierEntry.model_validate({"name": "it.1", **written})
    assert read.weights.size == 3
    assert read.weights.sha256
    assert read.model_copy(update={"weights": entry.weights, "classes": entry.classes}) == entry


def test_the_command_checks_options_and_data(
    street: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["classification", "--data", str(street.root), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--check"]) == 0
    assert "person: 24 in 12 images" in capsys.readouterr().out
    assert main([*arguments, "--size", "100"]) == 1
    assert "multiple of 32" in capsys.readouterr().err


def test_a_request_is_bounded() -> None:
    RunRequest(kind="masks", name="mine", size=256)
    for wrong in ({"name": "../up"}, {"size": 100}, {"epochs": 0}, {"kind": "pose"}, {"backbone": "vgg"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RunRequest.model_validate({"kind": "detection", "name": "mine", **wrong})
