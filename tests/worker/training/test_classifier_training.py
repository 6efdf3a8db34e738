"""Training of classifiers on TensorFlow, and its result in the engine that serves."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from shared.entries import ClassifierEntry
from shared.settings import Settings
from tests.worker.training.checks import outcomes_of
from worker.models.classifiers.model import ClassifierModel
from worker.training.datasets.pixels import read_pixels

CHECKS = ("augmentation", "gradients", "overfit", "resnet50", "resume", "crops")


@pytest.fixture(scope="module")
def folder(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifiers")
    outcomes_of("tests.worker.training.classifier_checks", data_dir, folder, CHECKS)
    return folder


@pytest.mark.parametrize("check", CHECKS)
def test_on_tensorflow(folder: Path, check: str) -> None:
    outcome = json.loads((folder / "outcomes.json").read_text())[check]
    assert not outcome, outcome


def test_the_engine_says_the_same(folder: Path, data_dir: Path, settings: Settings) -> None:
    """Through the catalogue's entry: the same probabilities, and a heat map."""
    written = tomllib.loads((folder / "overfit" / "eight.toml").read_text())["models"]["eight"]
    entry = ClassifierEntry.model_validate({"name": "eight", **written})
    model = ClassifierModel.load(entry, settings.model_copy(update={"weights_dir": folder / "overfit"}))
    assert model.labels == ("even", "odd")
    expected = np.load(folder / "overfit" / "said.npz")["probabilities"]
    paths = sorted((data_dir / "coco128" / "images").iterdir())[: len(expected)]
    for path, probabilities in zip(paths, expected, strict=True):
        photo = read_pixels(path)
        prepared = model.preprocess(photo)
        outputs = model.infer(prepared)
        np.testing.assert_allclose(outputs[0][0], probabilities, atol=1e-3)
        heat = model.explain(outputs, prepared, int(probabilities.argmax()))
        assert heat.shape == photo.shape[:2]
        assert heat.max() == 1
