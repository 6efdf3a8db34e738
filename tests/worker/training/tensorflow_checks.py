"""Checks of the training of detectors on TensorFlow; see `tests.worker.training.checks`."""

import math
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from shared.runs import Epoch
from tests.worker.darknet_files import largest_difference, noise, opencv_heads, write_random_weights
from tests.worker.training.checks import run
from worker.models.darknet.cfg import Yolo, load_cfg, parse_cfg
from worker.models.darknet.network import Layout, build_network
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import read_weights
from worker.training.checkpoint import CHECKPOINT
from worker.training.config import Augmentation
from worker.training.darknet.config import BoxLoss, DetectionConfig
from worker.training.darknet.fit import SMALL_CFG, Start, train_detector
from worker.training.darknet.loss import CIOU_WEIGHT, YoloLoss
from worker.training.darknet.measuring import measure
from worker.training.darknet.network import TrainedNetwork, first_weights, take_weights
from worker.training.darknet.targets import TargetEncoder, Targets
from worker.training.datasets.description import Dataset
from worker.training.datasets.reading import read_dataset
from worker.training.errors import TrainingError
from worker.training.truth import write_truth

Floats = NDArray[np.float32]

BOX_LOSSES: Final[tuple[BoxLoss, ...]] = ("squared", "ciou")
PLAIN: Final = Augmentation(mosaic=0, flip=0, scale=0, translate=0, hue=0, saturation=0, brightness=0, paste=0)


def tiny_cfg(folder: Path, *, grouped: bool = False) -> Path:
    """Two scales, a shortcut, mish, scale_x_y; on request grouped and depthwise convolutions, slow to compile."""
    text = "[net]\nheight=128\nwidth=128\n"

    def layer(kind: str, **options: object) -> None:
        nonlocal text
        text += f"\n[{kind}]\n" + "".join(f"{key.rstrip('_')}={value}\n" for key, value in options.items())

    def convolution(filters: int, size: int, stride: int = 1, **more: object) -> None:
        common = {"batch_normalize": 1, "pad": 1, "activation": "leaky"} | more
        layer("convolutional", filters=filters, size=size, stride=stride, **common)

    def head(mask: str) -> None:
        convolution(12, 1, batch_normalize=0, activation="linear")
        layer("yolo", mask=mask, anchors="10,20, 20,40, 40,80, 60,120", classes=1, num=4, scale_x_y=1.1)

    convolution(16, 3, 2)
    convolution(32, 3, 2)
    convolution(32, 3, groups=32 if grouped else 1, activation="mish")
    convolution(32, 3, groups=4 if grouped else 1)
    layer("shortcut", from_=-3, activation="linear")
    convolution(64, 3, 2)
    convolution(96, 3, 2)
    convolution(128, 3, 2)
    head("2,3")
    layer("route", layers=-3)
    layer("upsample", stride=2)
    layer("route", layers="-1,6")
    convolution(64, 3)
    head("0,1")
    path = folder / "tiny.cfg"
    path.write_text(text)
    return path


def some(dataset: Dataset, count: int) -> Dataset:
    return Dataset(dataset.root, dataset.kind, dataset.format, dataset.labels, dataset.samples[:count])


def random_case(plan: Plan, seed: int) -> tuple[Targets, list[Floats]]:
    """Two images, one of them with three objects, and raw outputs of which some hit."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (3, 2))
    boxes = np.concatenate([corners, corners + random.uniform(15, 55, (3, 2))], axis=1).astype(np.float32)
    class_ids = random.integers(0, plan.classes, 3)
    targets = TargetEncoder(plan, 0.5).encode([boxes, np.empty((0, 4), np.float32)], [class_ids, np.empty(0, np.int64)])
    shapes = [(2, shape.height, shape.width, shape.channels) for _, shape in plan.heads]
    return targets, [random.normal(0, 1, shape).astype(np.float32) for shape in shapes]


# -- the loss, once more: loops over plain numbers in float64


def overlap(a: list[float], b: list[float]) -> tuple[float, float]:
    """IoU, and the squared diagonal of the box around both; boxes are centre and sides."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = max(width, 0) * max(height, 0)
    around_width = max(a[0] + a[2] / 2, b[0] + b[2] / 2) - min(a[0] - a[2] / 2, b[0] - b[2] / 2)
    around_height = max(a[1] + a[3] / 2, b[1] + b[3] / 2) - min(a[1] - a[3] / 2, b[1] - b[3] / 2)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared), around_width**2 + around_height**2


def plain_ciou(a: list[float], b: list[float]) -> float:
    iou, diagonal = overlap(a, b)
    v = 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2
    alpha = v / (1 - iou + v) if v else 0.0
    return iou - ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / diagonal - alpha * v


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def entropy(x: float, wanted: float) -> float:
    return -math.log(logistic(x)) if wanted else -math.log(1 - logistic(x))


def plain_loss(plan: Plan, targets: Targets, outputs: list[Floats], kind: str, ignore: float) -> tuple[float, int]:
    """The loss, and how many predictions were ignored."""
    total, ignored = 0.0, 0
    for (yolo, shape), target, output in zip(plan.heads, targets.heads, outputs, strict=True):
        for image, row, column, anchor in np.ndindex(*target.shape[:4]):
            wanted = [float(value) for value in target[image, row, column, anchor]]
            size = 5 + yolo.classes
            raw = [float(value) for value in output[image, row, column, anchor * size : (anchor + 1) * size]]
            loss, skipped = cell_loss(plan, yolo, (shape.height, shape.width), (row, column), anchor, raw, wanted, kind)
            box = predicted(plan, yolo, (shape.height, shape.width), (row, column), anchor, raw)
            truths = [list(map(float, truth)) for truth in targets.truths[image] if truth[2] > 0]
            best = max((overlap(box, truth)[0] for truth in truths), default=0.0)
            if wanted[4] or best <= ignore:
                loss += entropy(raw[4], wanted[4])
            else:
                ignored += 1
            total += loss + skipped
    return total / len(outputs[0]), ignored


def predicted(
    plan: Plan, yolo: Yolo, grid: tuple[int, int], cell: tuple[int, int], anchor: int, raw: list[float]
) -> list[float]:
    s = yolo.scale_x_y
    x, y = (logistic(value) * s - (s - 1) / 2 for value in raw[:2])
    width, height = yolo.anchors[anchor]
    return [
        (cell[1] + x) * plan.input.width / grid[1],
        (cell[0] + y) * plan.input.height / grid[0],
        math.exp(raw[2]) * width,
        math.exp(raw[3]) * height,
    ]


def cell_loss(
    plan: Plan,
    yolo: Yolo,
    grid: tuple[int, int],
    cell: tuple[int, int],
    anchor: int,
    raw: list[float],
    wanted: list[float],
    kind: str,
) -> tuple[float, float]:
    """Box and class loss of one anchor."""
    if not wanted[4]:
        return 0.0, 0.0
    classes = sum(entropy(x, y) for x, y in zip(raw[5:], wanted[5:], strict=True))
    if kind == "ciou":
        return classes, CIOU_WEIGHT * (1 - plain_ciou(predicted(plan, yolo, grid, cell, anchor, raw), wanted[:4]))
    s = yolo.scale_x_y
    errors = [
        logistic(raw[0]) * s - (s - 1) / 2 - (wanted[0] / plan.input.width * grid[1] - cell[1]),
        logistic(raw[1]) * s - (s - 1) / 2 - (wanted[1] / plan.input.height * grid[0] - cell[0]),
        raw[2] - math.log(wanted[2] / yolo.anchors[anchor][0]),
        raw[3] - math.log(wanted[3] / yolo.anchors[anchor][1]),
    ]
    area = wanted[2] * wanted[3] / plan.input.width / plan.input.height
    return classes, (2 - area) / 2 * sum(error**2 for error in errors)


def check_loss(_data: Path, folder: Path) -> None:
    plan = make_plan(load_cfg(tiny_cfg(folder)))
    ignored = 0
    for seed in range(3):
        targets, outputs = random_case(plan, seed)
        for kind in BOX_LOSSES:
            parts = YoloLoss(plan, kind, 0.3)(targets.truths, targets.heads, outputs)
            expected, count = plain_loss(plan, targets, outputs, kind, 0.3)
            ignored += count
            assert abs(float(parts.total) - expected) < 1e-4 * expected, (kind, seed, float(parts.total), expected)
    assert ignored > 0


def check_perfect_outputs_cost_nothing(_data: Path, folder: Path) -> None:
    plan = make_plan(load_cfg(tiny_cfg(folder)))
    targets, outputs = random_case(plan, 5)
    perfect: list[Floats] = []
    for (yolo, shape), target in zip(plan.heads, targets.heads, strict=True):
        cells = np.full(target.shape, -30, np.float32)
        s = yolo.scale_x_y
        for place in zip(*np.nonzero(target[..., 4]), strict=True):
            _, row, column, anchor = place
            x, y, width, height = target[place][:4]
            offsets = np.asarray(
                [x * shape.width / plan.input.width - column, y * shape.height / plan.input.height - row]
            )
            share = (offsets + (s - 1) / 2) / s
            cells[place][:2] = np.log(share / (1 - share))
            cells[place][2:4] = np.log([width / yolo.anchors[anchor][0], height / yolo.anchors[anchor][1]])
            cells[place][4:] = np.where(target[place][4:] > 0, 30, -30)
        perfect.append(cells.reshape(outputs[len(perfect)].shape))
    for kind in BOX_LOSSES:
        loss = YoloLoss(plan, kind, 0.5)(targets.truths, targets.heads, perfect)
        assert float(loss.total) < 1e-3, (kind, float(loss.total))


def check_gradients(_data: Path, folder: Path) -> None:
    plan = make_plan(load_cfg(tiny_cfg(folder)))
    for precision in ("float32", "mixed_float16", "mixed_bfloat16"):
        for kind in ("squared", "ciou") if precision == "float32" else ("ciou",):
            config = DetectionConfig(precision=precision, box_loss=kind, learning_rate=1e-3, warmup=0)
            trained = TrainedNetwork(plan, first_weights(plan, 0), config, steps=50)
            before = [np.asarray(variable) for variable in trained.trainable_variables]
            targets, _ = random_case(plan, 1)
            images = np.concatenate([noise(plan), noise(plan, 2)])
            y = {"truths": targets.truths, "heads": list(targets.heads)}
            losses = [float(trained.train_on_batch(images, y, return_dict=True)["loss"]) for _ in range(12)]
            assert np.isfinite(losses).all(), (precision, kind, losses)
            assert losses[-1] < 0.8 * losses[0], (precision, kind, losses)
            after = [np.asarray(variable) for variable in trained.trainable_variables]
            assert all(np.isfinite(value).all() for value in after)
            # float16 skips a step whose gradients overflow: all weights moved, so some step had finite ones
            assert all((new != old).any() for new, old in zip(after, before, strict=True)), (precision, kind)
            policies = {layer.dtype_policy.name for layer in trained.network.layers if "convolution" in layer.name}
            assert policies == {precision}
    assert keras.config.dtype_policy().name == "float32"


def check_overfit(data: Path, folder: Path) -> None:
    """Eight real images learnt by heart; and the files that come out are Darknet's."""
    dataset = some(read_dataset(data / "pennfudan"), 8)
    config = DetectionConfig(
        epochs=130, batch_size=8, val=0, test=0, learning_rate=4e-3, weight_decay=0, ema_decay=0.9, augmentation=PLAIN
    )
    run = train_detector("eight", dataset, folder / "run", config, start=Start(tiny_cfg(folder)))
    cfg, weights = folder / "run" / "eight.cfg", folder / "run" / "eight.weights"
    assert run.ending == "completed"
    assert run.history[-1].losses["loss"] < 0.1 * run.history[0].losses["loss"]
    plan = make_plan(load_cfg(cfg))
    network = build_network(plan, read_weights(weights, plan), Layout("channels_last"))
    write_truth(dataset.samples, dataset.labels, folder / "truth")
    metrics = measure(network, plan, dataset.labels, folder / "truth")
    print("overfit:", {name: round(metrics[name], 3) for name in ("AP", "AP50")})
    assert metrics["AP50"] > 0.95, metrics

    batch = noise(plan)
    ours = [np.asarray(head) for head in network.predict_on_batch(batch)]
    difference = largest_difference(ours, opencv_heads(cfg, weights, plan, batch))
    assert difference < 1e-3, difference
    assert (folder / "run" / "eight.names").read_text() == "person\n"


class KilledError(Exception):
    pass


def check_resume(data: Path, folder: Path) -> None:
    """A run broken off after its second epoch ends with the weights of one that was not."""
    dataset = some(read_dataset(data / "pennfudan"), 6)
    config = DetectionConfig(epochs=4, batch_size=2, val=0.34, test=0.34, validate_every=1, seed=3)
    start = Start(tiny_cfg(folder))
    whole = train_detector("it", dataset, folder / "whole", config, start=start)

    def kill(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KilledError

    parts = folder / "parts"
    try:
        train_detector("it", dataset, parts, config, start=start, on_epoch=kill)
    except KilledError:
        (parts / f"{CHECKPOINT.removesuffix('.npz')}.new.npz").write_bytes(b"half a checkpoint")
    else:
        raise AssertionError("the run was not broken off")
    told: list[int] = []
    resumed = train_detector("it", dataset, parts, config, start=start, on_epoch=lambda epoch: told.append(epoch.epoch))
    assert told == [3, 4]
    assert resumed.held_out is not None
    without_times = [[epoch.model_copy(update={"seconds": 0.0}) for epoch in run.history] for run in (whole, resumed)]
    for one, other in zip(*without_times, strict=True):
        assert abs(one.losses["loss"] - other.losses["loss"]) < 1e-3 * one.losses["loss"], (one, other)
        assert abs(one.learning_rate - other.learning_rate) < 1e-9
    plan = make_plan(parse_cfg(whole.cfg))
    values = [read_weights(folder / name / "it.weights", plan) for name in ("whole", "parts")]
    for index, value in values[0].items():
        np.testing.assert_allclose(value.kernels, values[1][index].kernels, atol=2e-4)
    # what has ended is not trained again
    assert train_detector("it", dataset, parts, config, start=start, on_epoch=kill).history == resumed.history
    try:
        train_detector("it", dataset, parts, config.model_copy(update={"seed": 4}), start=start)
    except TrainingError as error:
        assert "other settings" in str(error)  # noqa: PT017 -- no pytest here
    else:
        raise AssertionError("other settings were accepted")


def check_early_stopping(data: Path, folder: Path) -> None:
    dataset = some(read_dataset(data / "pennfudan"), 4)
    config = DetectionConfig(
        epochs=30, batch_size=2, val=0.5, test=0, validate_every=1, patience=2, learning_rate=1e-12, augmentation=PLAIN
    )
    run = train_detector("it", dataset, folder / "run", config, start=Start(tiny_cfg(folder)))
    # as good each time counts as better: what was trained longer is kept
    assert run.best is not None
    assert (run.ending == "stopped early") == (len(run.history) < 30)
    assert len(run.history) - run.best.epoch == (2 if run.ending == "stopped early" else 0)


def check_start_from_weights(data: Path, folder: Path) -> None:
    """Layers that fit are taken over, heads for other classes begin anew."""
    cfg = tiny_cfg(folder, grouped=True)
    plan = make_plan(load_cfg(cfg))
    weights = write_random_weights(folder / "tiny.weights", plan)
    cells = some(read_dataset(data / "bccd"), 2)
    config = DetectionConfig(epochs=1, batch_size=2, val=0, test=0, learning_rate=1e-12, augmentation=PLAIN)
    run = train_detector("cells", cells, folder / "run", config, start=Start(cfg, weights))
    given, trained_plan = read_weights(weights, plan), make_plan(parse_cfg(run.cfg))
    trained = read_weights(folder / "run" / "cells.weights", trained_plan)
    assert trained_plan.classes == 3
    same = [index for index in given if given[index].kernels.shape == trained[index].kernels.shape]
    assert len(given) - len(same) == len(plan.heads)
    for index in same:
        np.testing.assert_allclose(trained[index].kernels, given[index].kernels, atol=1e-5)


def check_small_cfg(_data: Path, folder: Path) -> None:
    """The network that comes with the project, written and read by OpenCV."""
    plan = make_plan(load_cfg(SMALL_CFG))
    weights = write_random_weights(folder / "small.weights", plan)
    network = build_network(plan, read_weights(weights, plan), Layout("channels_last"))
    given = list(read_weights(weights, plan).values())
    for ours, theirs in zip(take_weights(plan, network), given, strict=True):
        np.testing.assert_array_equal(ours.kernels, theirs.kernels)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
    batch = noise(plan)
    ours_heads: list[Any] = [np.asarray(head) for head in network.predict_on_batch(batch)]
    assert largest_difference(ours_heads, opencv_heads(SMALL_CFG, weights, plan, batch)) < 1e-3


if __name__ == "__main__":
    run(globals())
