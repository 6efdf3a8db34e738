"""Checks of the training of classifiers on TensorFlow; see `tests.worker.training.checks`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shared.runs import Epoch, RunRequest, TrainingRun
from shared.settings import ROOT, Settings
from tests.worker.training.checks import run
from worker.models.classifiers.networks import load_saved
from worker.models.classifiers.preprocess import prepare
from worker.training.checkpoint import CHECKPOINT, DOCUMENT
from worker.training.classifiers.augment import PhotoAugmenter, reseed
from worker.training.classifiers.config import ClassificationConfig, PhotoAugmentation
from worker.training.classifiers.fit import train_classifier
from worker.training.classifiers.measuring import figures
from worker.training.classifiers.network import TrainedNetwork, build_network, load_backbone, stages
from worker.training.datasets.description import Dataset, make_sample
from worker.training.datasets.pixels import read_pixels
from worker.training.datasets.reading import read_dataset
from worker.training.errors import TrainingError
from worker.training.runs import files_to_go_on, train

NPZ = "weights/mobilenet_v2_1.0_224_dequantised_float32.npz"
PLAIN = PhotoAugmentation(flip=False, rotation=0, zoom=0, brightness=0, shear=0)


def photos(data: Path, count: int) -> Dataset:
    """Real photos, every other one of another class: nothing to see, only to learn by heart."""
    paths = sorted((data / "coco128" / "images").iterdir())[:count]
    samples = tuple(make_sample(path, None, [], [index % 2]) for index, path in enumerate(paths))
    return Dataset(data / "coco128", "classification", "a folder a class", ("even", "odd"), samples)


def check_overfit(data: Path, folder: Path) -> None:
    """Eight real photos learnt by heart, from scratch."""
    dataset = photos(data, 8)
    config = ClassificationConfig(
        image_size=(64, 64), epochs=40, batch_size=8, val=0, test=0, dropout=0, augmentation=PLAIN
    )
    record = train_classifier("eight", dataset, folder, config)
    assert record.ending == "completed"
    network = load_saved(folder / "eight.keras")
    images = [prepare(read_pixels(sample.path), 64, 64, "tf").batch for sample in dataset.samples]
    probabilities = np.asarray(network.predict_on_batch(np.concatenate(images)))
    # for the test in the other process, which compares them with those of the engine that serves
    np.savez(folder / "said.npz", probabilities=probabilities)
    right = probabilities.argmax(axis=1) == [sample.class_ids[0] for sample in dataset.samples]
    print("overfit:", record.history[-1].losses, right.mean(), probabilities.max(axis=1).mean())
    assert right.all(), probabilities


def check_resnet50(data: Path, folder: Path) -> None:
    """The other backbone, whose colours are others: what is kept is what has been measured."""
    config = ClassificationConfig(backbone="resnet50", image_size=(64, 64), epochs=1, batch_size=4, val=0.5, test=0)
    record = train_classifier("it", photos(data, 8), folder, config)
    assert tomllib.loads((folder / "it.toml").read_text())["models"]["it"]["preprocessing"] == "caffe"
    samples = [data / "coco128" / name for name in record.files["val"]]
    images = [prepare(read_pixels(path), 64, 64, "caffe").batch for path in samples]
    probabilities = np.asarray(load_saved(folder / "it.keras").predict_on_batch(np.concatenate(images)))
    truth = np.asarray([sorted((data / "coco128" / "images").iterdir()).index(path) % 2 for path in samples])
    assert record.best is not None
    assert record.best.metrics == pytest.approx(figures(truth, probabilities), abs=1e-4)


def check_gradients(_data: Path, _folder: Path) -> None:
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32)
    truth, weights = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], np.ones(4, np.float32)
    for precision in ("float32", "mixed_float16", "mixed_bfloat16"):
        config = ClassificationConfig(image_size=(64, 64), precision=precision, epochs=1, dropout=0, warmup=0)
        trained = TrainedNetwork(config, 2, None)
        trained.see_first(images)
        trained.begin(stages(config, scratch=True)[0], 20)
        before = [np.asarray(variable) for variable in trained.network.trainable_variables]
        losses = [trained.step(images, truth, weights) for _ in range(10)]
        assert np.isfinite(losses).all(), (precision, losses)
        assert losses[-1] < 0.8 * losses[0], (precision, losses)
        after = [np.asarray(variable) for variable in trained.network.trainable_variables]
        assert all(np.isfinite(value).all() for value in after), precision
        # float16 skips a step whose gradients overflow: all weights moved, so some step had finite ones
        assert all((new != old).any() for new, old in zip(after, before, strict=True)), precision
        assert trained.network.get_layer("block_5_expand").dtype_policy.name == precision
    assert keras.config.dtype_policy().name == "float32"


class KilledError(Exception):
    pass


def check_resume(data: Path, folder: Path) -> None:
    """A run broken off twice, within a stage and between two, ends like one that was not. Which layers learn when."""
    dataset = photos(data, 8)
    config = ClassificationConfig(image_size=(64, 64), epochs=4, batch_size=4, val=0.25, test=0.25, frozen=0.5)
    weights = data / NPZ
    whole = train_classifier("it", dataset, folder / "whole", config, weights=weights)
    parts = folder / "parts"
    for last in (1, 2):

        def kill(epoch: Epoch, last: int = last) -> None:
            if epoch.epoch == last:
                raise KilledError

        with pytest.raises(KilledError):
            train_classifier("it", dataset, parts, config, weights=weights, on_epoch=kill)
        (parts / CHECKPOINT).with_suffix(".new.npz").write_bytes(b"half a checkpoint")
        # goes on elsewhere, with nothing but what it needs
        (elsewhere := folder / f"after-{last}").mkdir()
        for path in files_to_go_on(parts, "it"):
            path.rename(elsewhere / path.name)
        parts = elsewhere
    told: list[int] = []
    resumed = train_classifier(
        "it", dataset, parts, config, weights=weights, on_epoch=lambda epoch: told.append(epoch.epoch)
    )
    assert told == [3, 4]
    for one, other in zip(whole.history, resumed.history, strict=True):
        assert abs(one.losses["loss"] - other.losses["loss"]) < 1e-3 * one.losses["loss"], (one, other)
        assert abs(one.learning_rate - other.learning_rate) < 1e-9
    ends = [dict(np.load(place / CHECKPOINT, allow_pickle=False)) for place in (folder / "whole", parts)]
    for name, value in ends[0].items():
        if name.startswith("network/"):
            np.testing.assert_allclose(value, ends[1][name], atol=2e-4, err_msg=name)
    assert resumed.held_out is not None
    assert resumed.table is not None
    assert sum(map(sum, resumed.table.confusion)) == len(resumed.files["test"])
    check_what_learnt(config, weights, ends[0])
    with pytest.raises(TrainingError, match="other settings"):
        train_classifier("it", dataset, parts, config.model_copy(update={"seed": 4}), weights=weights)


def check_what_learnt(config: ClassificationConfig, weights: Path, end: dict[str, Any]) -> None:
    """The first layers and all normalisation are as they were, the last layers are not."""
    network = build_network(config, 2)
    load_backbone(network, config, weights)
    given = {
        f"network/{index}": (variable.path, np.asarray(variable)) for index, variable in enumerate(network.weights)
    }
    same = {path: bool((end[name] == value).all()) for name, (path, value) in given.items()}
    assert all(value for path, value in same.items() if "bn_" in path.lower() or "_bn" in path.lower())
    kernels = {path.split("/")[0]: value for path, value in same.items() if path.endswith("kernel")}
    assert kernels["Conv1"]
    assert kernels["block_5_expand"]
    assert not kernels["block_16_project"]
    assert not kernels["Conv_1"]
    assert not kernels["logits"]


def check_crops(data: Path, folder: Path) -> None:
    """Asked for as a job would: boxes of real photos cut out, from scratch as nothing is installed."""
    cells = read_dataset(data / "bccd")
    few = Dataset(cells.root, cells.kind, cells.format, cells.labels, cells.samples[:8] + cells.samples[-2:])
    request = RunRequest(kind="classification", name="cells", size=64, epochs=3, batch_size=32, patience=1, val=0.2)
    settings = Settings(weights_dir=folder, catalog=ROOT / "weights" / "catalog.toml")
    told: list[Epoch] = []
    record = train(request, few, folder / "run", settings, on_epoch=told.append)
    assert set(record.labels) <= set(cells.labels)
    assert record.best is not None
    assert (record.ending == "stopped early") == (len(told) - record.best.epoch == 1)
    assert all(set(epoch.metrics or ()) == {"accuracy", "f1", "loss"} for epoch in told)
    # read by whoever knows nothing of classifiers, such as the page
    read = TrainingRun.model_validate_json((folder / "run" / DOCUMENT).read_text())
    assert read.table == record.table
    assert read.history == tuple(told)
    assert json.loads((folder / "run" / DOCUMENT).read_text())["config"]["image_size"] == [64, 64]
    with pytest.raises(TrainingError, match="no model 'resnet50' is installed"):
        train(request.model_copy(update={"start": "resnet50"}), few, folder / "other", settings)


def check_augmentation(_data: Path, _folder: Path) -> None:
    pictures = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8), 4, axis=0)
    augmenter = PhotoAugmenter(PhotoAugmentation())
    assert [type(layer).__name__ for layer in augmenter.layers] == [
        "RandomFlip",
        "RandomRotation",
        "RandomZoom",
        "RandomBrightness",
        "RandomShear",
    ]
    reseed(augmenter.layers, 3, 1)
    first, second = augmenter(pictures), augmenter(pictures)
    reseed(augmenter.layers, 3, 1)
    np.testing.assert_array_equal(augmenter(pictures), first)
    assert (first != second).any()
    assert all((first[0] != other).any() for other in (first[1], first[2], first[3]))
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 255
    np.testing.assert_array_equal(PhotoAugmenter(PLAIN)(pictures), pictures)


if __name__ == "__main__":
    run(globals())
