"""Checks and a training run on TensorFlow: `python -m tests.worker.training.mask_rcnn_on_tensorflow DATA FOLDER`.

TensorFlow does not share a process with other backends of Keras. Writes what went wrong into FOLDER/outcomes.json (an
empty text for a check that passed), the small model of `mask_rcnn_shapes` with its `history.json`, and `overfit.json`.
"""

import json
import math
import shutil
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from shared.runs import Epoch
from tests.worker.darknet_files import write_random_weights
from tests.worker.training.mask_rcnn_shapes import LABELS, dataset, entry, picture
from worker.models.darknet.cfg import Shortcut, load_cfg
from worker.models.darknet.network import Layout, build_network
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import read_weights
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.trunk import build_trunk
from worker.models.mask_rcnn.weights_matterport import read_matterport, write_matterport
from worker.training.config import Augmentation
from worker.training.darknet.fit import SMALL_CFG
from worker.training.datasets.reading import read_dataset
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.batches import Batches
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.document import MasksRun
from worker.training.mask_rcnn.export import shrink
from worker.training.mask_rcnn.fit import train_mask_rcnn
from worker.training.mask_rcnn.losses import box_head_losses, mask_loss, proposal_losses
from worker.training.mask_rcnn.measuring import measure
from worker.training.mask_rcnn.network import LOSS_NAMES, TrainedMaskRcnn
from worker.training.mask_rcnn.small import small_entry
from worker.training.mask_rcnn.start import first_weights, start_weights
from worker.training.truth import write_truth

IMAGES = 400
CONFIG = MaskRcnnConfig(
    epochs=12,
    learning_rate=3e-3,
    val=0,
    test=0,
    batch_size=4,
    regions=32,
    proposals=100,
    augmentation=Augmentation(mosaic=0, paste=0, scale=0.1, translate=0.05),
)
#: as short as a run can be
SHORT = CONFIG.model_copy(
    update={"batch_size": 2, "epochs": 3, "heads_epochs": 1, "val": 0.34, "test": 0.25, "validate_every": 1}
)
PLAIN = Augmentation(mosaic=0, flip=0, scale=0, translate=0, hue=0, saturation=0, brightness=0, paste=0)


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
    """They are numbers in any precision, the loss is the sum of its parts, and every weight moves."""
    # small: half precision is slow where the hardware has none
    plan = Plan.of(entry().model_copy(update={"min_side": 64, "max_side": 64}), len(LABELS))
    few = CONFIG.model_copy(update={"batch_size": 2, "regions": 12})
    batch = next(Batches(plan, picture, 4, few).epoch(1))
    for precision in ("float32", "mixed_float16", "mixed_bfloat16"):
        config = few.model_copy(update={"precision": precision})
        network = TrainedMaskRcnn(plan, first_weights(plan, 0), config)
        before = network.weights()
        network.begin("all", 10)
        # the first step is one of 0, as the learning rate rises from there; float16 skips those that overflow
        for _step in range(2 if precision == "float32" else 5):
            losses = network.step(batch)
            assert all(math.isfinite(losses[name]) for name in LOSS_NAMES), (precision, losses)
            assert math.isclose(losses["loss"], sum(losses[name] for name in LOSS_NAMES[1:]), rel_tol=1e-4)
        assert math.isfinite(losses["gradient"]), precision
        assert losses["gradient"] > 0
        after = network.weights()
        assert all(np.isfinite(value).all() for values in after.values() for value in values.values()), precision
        still = [
            f"{layer} {name}"
            for layer in before
            for name in before[layer]
            if np.array_equal(before[layer][name], after[layer][name])
        ]
        assert not still, (precision, still)
        policies = {layer.dtype_policy.name for part in network.parts for layer in part.layers if layer.weights}
        assert policies == {precision}
    assert keras.config.dtype_policy().name == "float32"


def check_heads_first(_: Path) -> None:
    """The backbone rests while the heads learn."""
    plan = Plan.of(entry(), len(LABELS))
    first = first_weights(plan, SHORT.seed)
    network = TrainedMaskRcnn(plan, first, SHORT)
    network.begin("heads", 10)
    for _step in range(2):
        network.step(next(Batches(plan, picture, 2, SHORT).epoch(1)))
    after = network.weights()
    backbone = [name for name in first if name.startswith(("conv1", "bn", "res"))]
    assert len(backbone) == 42, len(backbone)
    assert all(_same(first[name], after[name]) for name in backbone)
    assert not any(_same(first[name], after[name]) for name in first if name not in backbone)


class KilledError(Exception):
    """Stands for a kill."""


def check_resuming(folder: Path) -> None:
    """A run broken off, within a part and between the two, ends as one that was not; another one's is refused."""
    data = dataset(folder / "data", 4)
    told: list[int] = []

    def run(name: str, config: MaskRcnnConfig, stop: int = 0) -> MasksRun:
        def tell(epoch: Epoch) -> None:
            told.append(epoch.epoch)
            if epoch.epoch == stop:
                raise KilledError

        return train_mask_rcnn(entry("short"), data, folder / name, config, on_epoch=tell)

    whole = run("whole", SHORT)
    told.clear()
    for stop in (1, 2):
        with pytest.raises(KilledError):
            run("parts", SHORT, stop)
    resumed = run("parts", SHORT)
    assert told == [1, 2, 3]
    assert run("parts", SHORT, 1).history == resumed.history, "it was over"
    assert whole.files == resumed.files
    assert [len(whole.files[part]) for part in ("train", "val", "test")] == [2, 1, 1]
    assert whole.held_out is not None
    assert whole.held_out["mask_AP50"] >= 0
    losses = [[epoch.losses["loss"] for epoch in each.history] for each in (whole, resumed)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    plan = Plan.of(entry(), len(LABELS))
    one, other = (read_matterport(folder / name / "short.h5", plan) for name in ("whole", "parts"))
    for layer, values in one.items():
        for name, value in values.items():
            np.testing.assert_allclose(value, other[layer][name], atol=2e-3, rtol=2e-2, err_msg=f"{layer} {name}")
    with pytest.raises(TrainingError, match="other settings"):
        run("parts", SHORT.model_copy(update={"seed": 1}))


def check_frozen_normalisation(_: Path) -> None:
    """Neither its weights nor its running averages move."""
    plan = Plan.of(entry(), len(LABELS))
    first = first_weights(plan, 0)
    network = TrainedMaskRcnn(plan, first, CONFIG.model_copy(update={"freeze_normalisation": True}))
    network.begin("all", 10)
    for _step in range(2):
        network.step(next(Batches(plan, picture, 4, CONFIG).epoch(1)))
    after = network.weights()
    assert all(_same(first[name], after[name]) == ("gamma" in first[name]) for name in first)


def check_starts(folder: Path) -> None:
    """From a Mask R-CNN for other classes all but what names them is taken; from a Darknet its backbone, exactly."""
    shapes, person = Plan.of(entry(), len(LABELS)), Plan.of(entry(), 1)
    write_matterport(folder / "shapes.h5", first_weights(shapes, 7))
    given, taken = first_weights(shapes, 7), start_weights(person, 0, folder / "shapes.h5")
    new = [name for name in taken if name not in given or not _same(taken[name], given[name])]
    assert new == ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]

    small = Plan.of(small_entry("small"), 1)
    darknet = make_plan(load_cfg(SMALL_CFG))
    write_random_weights(folder / "small.weights", darknet)
    shutil.copy(SMALL_CFG, folder / "small.cfg")
    weights = start_weights(small, 0, folder / "small.weights")
    stages = build_trunk(small, small.canvas((1, 1)), weights, "channels_last")
    # what the first lateral connection is made from
    ours = keras.Model(stages.input, stages.get_layer("fpn_c5p5").input)
    detector = build_network(darknet, read_weights(folder / "small.weights", darknet), Layout("channels_last"))
    last = max(step.index for step in darknet.layers if isinstance(step.layer, Shortcut))
    theirs = keras.Model(detector.input, detector.get_layer(f"shortcut_{last}").output)
    image = np.random.default_rng(1).integers(0, 256, (1, 320, 320, 3)).astype(np.float32)
    one, other = ours(image), theirs(image / 255)
    assert np.abs(one - other).max() < 2e-3 * np.abs(other).max()
    with pytest.raises(TrainingError, match="no layer"):
        start_weights(person, 0, folder / "small.weights")


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


def check_without_masks(folder: Path) -> None:
    data = dataset(folder / "data", 1)
    for own, also in ((replace(data, kind="detection"), []), (data, [replace(data, kind="detection")])):
        with pytest.raises(TrainingError, match="no masks"):
            train_mask_rcnn(entry(), own, folder / "run", SHORT, also=also)


def overfit(data: Path, folder: Path) -> None:
    """Eight real photos learnt by heart, from scratch: boxes and outlines."""
    people = read_dataset(data / "pennfudan")
    eight = replace(people, samples=people.samples[:8])
    config = MaskRcnnConfig(
        epochs=80, batch_size=8, val=0, test=0, learning_rate=3e-3, weight_decay=0, ema_decay=0.9, augmentation=PLAIN
    )
    small = small_entry("eight", 192)
    run = train_mask_rcnn(small, eight, folder, config)
    plan = Plan.of(small, 1)
    weights = read_matterport(folder / "eight.h5", plan)
    network = TrainedMaskRcnn(plan, weights, config)
    write_truth(eight.samples, eight.labels, folder / "truth")
    metrics = measure(network.parts, small, run.labels, folder / "truth")
    figures = {name: metrics[name] for name in ("AP", "AP50", "mask_AP", "mask_AP50")}
    (folder / "overfit.json").write_text(json.dumps(figures))
    print(figures, run.history[-1].losses, flush=True)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


CHECKS = (
    check_losses,
    check_gradients,
    check_heads_first,
    check_resuming,
    check_frozen_normalisation,
    check_starts,
    check_shrunk_weights_compute_the_same,
    check_without_masks,
)


def train(folder: Path) -> None:
    """The small model."""

    def told(epoch: Epoch) -> None:
        figures = " ".join(f"{name} {value:.3f}" for name, value in epoch.losses.items())
        print(f"{epoch.epoch}/{epoch.epochs} {figures} {epoch.seconds:.1f} s", flush=True)

    run = train_mask_rcnn(entry(), dataset(folder / "data", IMAGES), folder, CONFIG, on_epoch=told)
    (folder / "history.json").write_text(json.dumps([epoch.losses for epoch in run.history]))


def main(data: Path, folder: Path) -> None:
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
    overfit(data, folder / "overfit")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
