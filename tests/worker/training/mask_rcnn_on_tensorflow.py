"""Checks and a training run on TensorFlow: `python -m tests.worker.training.mask_rcnn_on_tensorflow FOLDER`.

TensorFlow does not share a process with other backends of Keras. Writes what went wrong into FOLDER/outcomes.json (an
empty text for a check that passed), the small model of `mask_rcnn_shapes` and its `history.json`.
"""

import functools
import json
import math
import sys
import tomllib
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.entries import MaskRcnnEntry
from tests.worker.training.mask_rcnn_shapes import LABELS, entry, picture
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.weights_matterport import read_matterport
from worker.training.darknet.config import Augmentation
from worker.training.datasets.reading import read_dataset
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.batches import Batches
from worker.training.mask_rcnn.config import MaskRcnnConfig, Stage
from worker.training.mask_rcnn.export import shrink
from worker.training.mask_rcnn.fit import Progress, train_mask_rcnn
from worker.training.mask_rcnn.losses import box_head_losses, mask_loss, proposal_losses
from worker.training.mask_rcnn.network import LOSS_NAMES, TrainedMaskRcnn, first_weights
from worker.training.mask_rcnn.on_dataset import small_entry, train_on_dataset

IMAGES = 400
CONFIG = MaskRcnnConfig(
    stages=(Stage(part="all", epochs=12, learning_rate=3e-3),),
    batch_size=4,
    regions=32,
    proposals=100,
    augmentation=Augmentation(mosaic=0, paste=0, scale=0.1, translate=0.05),
)
#: as short as a run can be
SHORT = CONFIG.model_copy(
    update={"batch_size": 2, "stages": (Stage(part="heads", epochs=1), Stage(part="all", epochs=2))}
)


def check_losses(_: Path) -> None:
    """Against values worked out by hand."""

    def array(values: Any) -> Any:
        return keras.ops.convert_to_tensor(np.asarray(values, np.float32))

    # the first anchor is an object and judged as one with 3/4; its deltas are off by 0.5 and 3
    labels = np.asarray([[1, 0, -1]], np.int8)
    logits = array([[[0, math.log(3)], [0, 0], [9, -9]]])
    classes, boxes = proposal_losses(
        logits, array([[[0.5, 0, 3, 0], [7] * 4, [7] * 4]]), labels, array([[[0] * 4] * 3])
    )
    assert math.isclose(float(classes), (math.log(4 / 3) + math.log(2)) / 2, rel_tol=1e-5)
    assert math.isclose(float(boxes), (0.125 + 2.5) / 2, rel_tol=1e-5)
    # of class 2, background, and one that does not count
    deltas = np.full((3, 3, 4), 50.0)
    deltas[0, 2] = [1, 1, 1, 3]
    classes, boxes = box_head_losses(
        array([[0, 0, math.log(2)], [0, 0, 0], [0, 99, 0]]),
        array(deltas),
        np.asarray([2, 0, 2]),
        array([[1, 1, 1, 1], [0] * 4, [0] * 4]),
        array([1, 1, 0]),
    )
    assert math.isclose(float(classes), (math.log(2) + math.log(3)) / 2, rel_tol=1e-5)
    assert math.isclose(float(boxes), 1.5 / 2, rel_tol=1e-5)
    # two cells, of the true class only: judged right with 3/4, wrong with 3/4
    masks = np.full((2, 1, 2, 2), 40.0)
    masks[0, 0, :, 1] = math.log(3)
    found = mask_loss(array(masks), np.asarray([1, 1]), array([[[1, 0]], [[0, 0]]]), array([1, 0]))
    assert math.isclose(float(found), (math.log(4 / 3) + math.log(4)) / 2, rel_tol=1e-5)


def check_gradients(_: Path) -> None:
    """They are numbers, the loss is the sum of its parts, and every weight moves."""
    plan = Plan.of(entry(), len(LABELS))
    network = TrainedMaskRcnn(plan, first_weights(plan, 0), CONFIG)
    before = network.weights()
    # the first step is one of 0, as the learning rate rises from there
    network.begin(Stage(part="all", epochs=1), 10)
    batch = next(Batches(plan, picture, 4, CONFIG).epoch(1))
    for losses in (network.step(batch), network.step(batch)):
        assert all(math.isfinite(value) for value in losses.values())
        assert math.isclose(losses["loss"], sum(losses[name] for name in LOSS_NAMES[1:]), rel_tol=1e-4)
        assert losses["gradient"] > 0
    after = network.weights()
    still = [
        f"{layer} {name}"
        for layer in before
        for name in before[layer]
        if np.array_equal(before[layer][name], after[layer][name])
    ]
    assert not still, still


def check_stages_and_resuming(folder: Path) -> None:
    """The backbone rests while the heads learn; a run broken off goes on where it was, another one's is refused."""
    seen: list[Progress] = []

    def stop_after(epoch: int, progress: Progress) -> None:
        seen.append(progress)
        if progress.epoch == epoch:
            raise KeyboardInterrupt

    def run(config: MaskRcnnConfig, stop: int) -> None:
        told = functools.partial(stop_after, stop)
        train_mask_rcnn(entry("short"), LABELS, picture, 2, folder, config, on_epoch=told)

    plan = Plan.of(entry(), len(LABELS))
    first = first_weights(plan, SHORT.seed)
    for stop in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(SHORT, stop)
    run(SHORT, 99)
    assert [progress.epoch for progress in seen] == [1, 2, 3]
    run(SHORT, 99)
    assert len(seen) == 3, "it was over"
    written = read_matterport(folder / "short.h5", plan)
    assert not _same(written["conv1"], first["conv1"])
    with pytest.raises(TrainingError, match="other settings"):
        run(SHORT.model_copy(update={"seed": 1}), 99)

    network = TrainedMaskRcnn(plan, first, SHORT)
    network.begin(SHORT.stages[0], 10)
    for _step in range(2):
        network.step(next(Batches(plan, picture, 2, SHORT).epoch(1)))
    after = network.weights()
    backbone = [name for name in first if name.startswith(("conv1", "bn", "res"))]
    assert len(backbone) == 42, len(backbone)
    assert all(_same(first[name], after[name]) for name in backbone)
    assert not any(_same(first[name], after[name]) for name in first if name not in backbone)


def check_frozen_normalisation(_: Path) -> None:
    """Neither its weights nor its running averages move."""
    plan = Plan.of(entry(), len(LABELS))
    first = first_weights(plan, 0)
    network = TrainedMaskRcnn(plan, first, CONFIG.model_copy(update={"freeze_normalisation": True}))
    network.begin(Stage(part="all", epochs=1), 10)
    for _step in range(2):
        network.step(next(Batches(plan, picture, 4, CONFIG).epoch(1)))
    after = network.weights()
    assert all(_same(first[name], after[name]) == ("gamma" in first[name]) for name in first)


def check_shrunk_weights_compute_the_same(_: Path) -> None:
    """Variances beyond float16 become small, and the outputs stay."""
    plan = Plan.of(entry(), len(LABELS))
    random = np.random.default_rng(0)
    weights = first_weights(plan, 0)
    for layer, values in weights.items():
        if "gamma" in values:
            shape = values["gamma"].shape
            values["moving_variance"] = np.exp(random.uniform(0, 13, shape)).astype(np.float32)
            values["moving_mean"] = random.normal(0, 5, shape).astype(np.float32)
            values["gamma"] = np.sqrt(values["moving_variance"]) if layer != "bn_conv1" else values["gamma"]
    small = shrink(weights)
    assert max(values["moving_variance"].max() for values in small.values() if "gamma" in values) <= 256
    image = np.random.default_rng(1).normal(0, 70, (1, 128, 128, 3)).astype(np.float32)
    for one, other in zip(
        TrainedMaskRcnn(plan, weights, CONFIG).parts[0](image),
        TrainedMaskRcnn(plan, small, CONFIG).parts[0](image),
        strict=True,
    ):
        assert np.abs(one - other).max() < 2e-3 * np.abs(one).max()


def check_dataset(folder: Path) -> None:
    """A data set in Penn-Fudan's format is divided and trained on; one without masks is refused."""
    for name in ("PNGImages", "PedMasks"):
        (folder / "data" / name).mkdir(parents=True)
    for seed in range(3):
        made = picture(seed)
        assert made.masks is not None
        numbers = (made.masks * np.arange(1, len(made.masks) + 1)[:, None, None]).sum(axis=0).astype(np.uint8)
        cv2.imwrite(str(folder / "data/PNGImages" / f"{seed}.png"), made.pixels[..., ::-1])
        cv2.imwrite(str(folder / "data/PedMasks" / f"{seed}_mask.png"), numbers)
    dataset = read_dataset(folder / "data")
    config = SHORT.model_copy(update={"stages": SHORT.stages[:1]})
    small = small_entry("people", 128)
    text = train_on_dataset(small, dataset, folder / "run", config, held_out=1 / 3)
    assert (
        MaskRcnnEntry.model_validate({"name": "people", **tomllib.loads(text)["models"]["people"]}).width == small.width
    )
    read_matterport(folder / "run/people.h5", Plan.of(small, 1))
    assert len(json.loads((folder / "run/test/instances.json").read_text())["images"]) == 1
    with pytest.raises(TrainingError, match="no masks"):
        train_on_dataset(small, replace(dataset, kind="detection"), folder / "run", config, held_out=1 / 3)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


CHECKS = (
    check_losses,
    check_gradients,
    check_stages_and_resuming,
    check_frozen_normalisation,
    check_shrunk_weights_compute_the_same,
    check_dataset,
)


def train(folder: Path) -> None:
    """The small model."""
    history: list[dict[str, float]] = []

    def told(progress: Progress) -> None:
        history.append(progress.losses)
        figures = " ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
        print(f"{progress.epoch}/{progress.epochs} {figures} {progress.seconds:.1f} s", flush=True)

    train_mask_rcnn(entry(), LABELS, functools.cache(picture), IMAGES, folder, CONFIG, half=True, on_epoch=told)
    (folder / "history.json").write_text(json.dumps(history))


def main(folder: Path) -> None:
    """All checks, then the training."""
    assert keras.config.backend() == "tensorflow"
    outcomes = {}
    # making a graph takes longer than a step or two without
    tf.config.run_functions_eagerly(True)
    for check in CHECKS:
        outcomes[check.__name__] = ""
        place = folder / check.__name__
        place.mkdir()
        try:
            check(place)
        except Exception:  # noqa: BLE001 -- all of them are reported
            outcomes[check.__name__] = traceback.format_exc()
    tf.config.run_functions_eagerly(False)
    (folder / "outcomes.json").write_text(json.dumps(outcomes))
    train(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
