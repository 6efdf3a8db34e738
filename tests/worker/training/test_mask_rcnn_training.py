"""Mask R-CNN trained to work: on TensorFlow in a process of its own, then at work in the engine of this one."""

import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from shared.entries import MaskRcnnEntry
from shared.settings import Settings
from tests.worker.environments import on_tensorflow
from tests.worker.training.mask_rcnn_shapes import LABELS, SIDE, entry, picture
from worker.models.mask_rcnn.model import MaskRcnn

#: pictures from here on were not trained on
HELD_OUT = range(10_000, 10_040)
TIMEOUT = 900


@pytest.fixture(scope="module")
def folder(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not list(Path(sys.prefix).glob("lib/python*/site-packages/tensorflow/__init__.py")):
        pytest.skip("TensorFlow is not installed")
    folder = tmp_path_factory.mktemp("mask-rcnn")
    command = [sys.executable, "-m", "tests.worker.training.mask_rcnn_on_tensorflow", str(data_dir), str(folder)]
    subprocess.run(command, check=True, env=on_tensorflow(), timeout=TIMEOUT)
    return folder


def test_checks_on_tensorflow(folder: Path) -> None:
    """Losses, gradients, resuming, starting and files: what went wrong is written by the other process."""
    outcomes: dict[str, str] = json.loads((folder / "outcomes.json").read_text())
    assert len(outcomes) == 8
    assert not any(outcomes.values()), "\n".join(outcomes.values())


def test_every_loss_falls(folder: Path) -> None:
    history = json.loads((folder / "history.json").read_text())
    assert all(math.isfinite(value) for epoch in history for value in epoch.values())
    first, last = history[0], history[-1]
    assert all(last[name] < first[name] for name in ("loss", "rpn_class", "class", "mask"))


def test_eight_photos_learnt_by_heart(folder: Path) -> None:
    figures = json.loads((folder / "overfit/overfit.json").read_text())
    print(figures)
    assert figures["AP50"] > 0.95
    assert figures["mask_AP50"] > 0.95


def test_finds_and_outlines_what_it_has_not_seen(folder: Path, tmp_path: Path) -> None:
    settings = Settings(weights_dir=folder, engine_cache_dir=tmp_path, engine="openvino", precision="f32", threads=1)
    model = MaskRcnn.load(entry(), settings)
    matched, found, there = [], 0, 0
    for seed in HELD_OUT:
        made = picture(seed)
        detections = model.detect(made.pixels, score=0.5, iou=0.4, max_detections=20)
        assert detections.masks is not None
        assert made.masks is not None
        free = set(range(len(made.masks)))
        there += len(free)
        found += len(detections.masks)
        for mask, class_id in zip(detections.masks, detections.class_ids.tolist(), strict=True):
            whole = np.zeros((SIDE, SIDE), np.bool_)
            rows, columns = mask.pixels.shape
            whole[mask.top : mask.top + rows, mask.left : mask.left + columns] = mask.pixels
            overlap = {
                index: float((whole & made.masks[index]).sum() / (whole | made.masks[index]).sum())
                for index in free
                if made.class_ids[index] == class_id
            }
            best = max(overlap, key=overlap.__getitem__, default=None)
            if best is not None and overlap[best] >= 0.5:
                matched.append(overlap[best])
                free.remove(best)
    assert there > 60
    figures = f"IoU {np.mean(matched):.3f}, {len(matched)} right of {found} found and {there} there"
    print(figures)
    assert np.mean(matched) > 0.8, figures
    assert len(matched) / there > 0.85, figures
    assert len(matched) / found > 0.85, figures


def test_entry_is_one_of_the_catalogue(folder: Path) -> None:
    found = tomllib.loads((folder / "shapes.toml").read_text())["models"]["shapes"]
    read = MaskRcnnEntry.model_validate({"name": "shapes", **found})
    assert read.weights.sha256
    assert read.weights.size == (folder / "shapes.h5").stat().st_size
    assert read.description == "Trained on 400 images to find: disc, triangle."
    same = {"weights": entry().weights, "classes": entry().classes, "description": ""}
    assert read.model_copy(update=same) == entry()
    assert (folder / "shapes.names").read_text().split() == list(LABELS)
