import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.entries import ClassifierEntry
from shared.settings import ROOT, Settings
from worker.models.classifiers.model import ClassifierModel

NPZ = "mobilenet_v2_1.0_224_dequantised_float32.npz"


def classifier_entry(
    weights: str, classes: str = "classes.json", sha256: object = None, **changes: object
) -> ClassifierEntry:
    saved = {"architecture": "saved", "image_size": (96, 96), "preprocessing": "none"}
    return ClassifierEntry.model_validate(
        {
            "name": "mine",
            "family": "classifier",
            "title": "Mine",
            "weights": {"name": weights, "sha256": sha256},
            "classes": {"name": classes},
            **(changes if "architecture" in changes else saved | changes),
        }
    )


@dataclass
class Made:
    """What TensorFlow made: a folder of models, and what it computes of them."""

    folder: Path

    def expected(self, name: str) -> dict[str, NDArray[Any]]:
        with np.load(self.folder / f"{name}.npz") as file:
            return dict(file)

    def load(self, weights: str, classes: int, settings: Settings, **changes: object) -> ClassifierModel:
        """The model of a file, with as many classes as it is said to have."""
        (self.folder / f"{classes}.json").write_text(json.dumps([f"class_{number}" for number in range(classes)]))
        own = settings.model_copy(update={"weights_dir": self.folder})
        return ClassifierModel.load(classifier_entry(weights, f"{classes}.json", **changes), own)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Has models made by TensorFlow, each once."""
    folder = tmp_path_factory.mktemp("made-by-tensorflow")
    there: set[str] = set()

    def make(*names: str) -> Made:
        wanted = set(names) - there
        if wanted:
            done = subprocess.run(
                [sys.executable, "-m", "tests.worker.classifiers.made_by_tensorflow", str(folder), *sorted(wanted)],
                cwd=ROOT,
                env=os.environ | {"TF_NUM_INTRAOP_THREADS": "1"},
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, done.stderr[-3000:]
            there.update(wanted)
        return Made(folder)

    return make


@pytest.fixture(scope="session")
def imagenet(data_dir: Path, engine_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> ClassifierModel:
    """The real MobileNetV2, trained on ImageNet."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("data"),
        weights_dir=data_dir / "weights",
        engine_cache_dir=engine_cache,
        engine="openvino",
        precision="f32",
        threads=1,
    )
    entry = classifier_entry(NPZ, "imagenet_labels.txt", architecture="mobilenet_v2")
    return ClassifierModel.load(entry, settings)
