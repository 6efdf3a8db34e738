"""A training run, from data sets to a model's files. Imports Keras: choose the backend before.

The folder of a run has `training.json` (see `DetectionRun`), `last.npz` (what a run goes on from), the best model's
`.cfg`, `.weights`, `.names` and catalogue entry (`.toml`), and `val/` and `test/` with the truth in COCO's format.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from keras import ops

from shared.runs import Epoch
from worker.models.darknet.cfg import load_cfg, parse_cfg
from worker.models.darknet.network import Layout, build_network
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import ConvolutionWeights, read_weights
from worker.training.checkpoint import CHECKPOINT, DOCUMENT, Checkpoint, load_checkpoint, save_checkpoint, save_document
from worker.training.darknet.anchors import find_anchors
from worker.training.darknet.augment import Augmenter
from worker.training.darknet.batches import Batches
from worker.training.darknet.cfg_text import adapt_cfg, anchor_count
from worker.training.darknet.config import DetectionConfig
from worker.training.darknet.data import TrainingData, box_sides, divide
from worker.training.darknet.document import DetectionRun
from worker.training.darknet.export import catalog_entry, write_model
from worker.training.darknet.measuring import measure, write_truth
from worker.training.darknet.network import LOSS_NAMES, AverageWeights, TrainedNetwork, first_weights, take_weights
from worker.training.darknet.source import PictureSource
from worker.training.darknet.targets import TargetEncoder
from worker.training.datasets.description import Dataset
from worker.training.datasets.pixels import read_pixels
from worker.training.errors import TrainingError

logger = logging.getLogger(__name__)

SMALL_CFG: Final = Path(__file__).with_name("small.cfg")


@dataclass(frozen=True, slots=True)
class Start:
    """What a network begins with.

    Args:
        cfg: the network's shape; classes, anchors and input size are written anew.
        weights: of that cfg, to go on from. None: fresh ones, as for layers of another shape (heads of other classes).
    """

    cfg: Path = SMALL_CFG
    weights: Path | None = None


def train_detector(
    name: str,
    dataset: Dataset,
    folder: Path,
    config: DetectionConfig,
    *,
    also: Sequence[Dataset] = (),
    start: Start | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> DetectionRun:
    """Train a detector, or go on with a run that was broken off in `folder`.

    Args:
        name: of the model and its files.
        dataset: with boxes; it is split, and the test part never seen before the end.
        folder: of this run; made if it is not there.
        config: how to train.
        also: further data sets: all their images are trained on, with the objects whose labels are in `dataset`.
        start: the network.
        on_epoch: told after each epoch, when its checkpoint is safe. What it raises ends the run, which can be resumed.

    Returns:
        The record, as in `training.json`.

    Raises:
        DatasetError: nothing to train on, or an image cannot be read.
        DarknetError: the cfg or weights cannot be used.
        TrainingError: the folder has a run with other settings or data, or the loss is no number any more.
    """
    start = start or Start()
    data = divide(dataset, also, config)
    cfg = _fit_cfg(start.cfg, data, config)
    run = DetectionRun(name=name, config=config, labels=data.labels, cfg=cfg, files=data.files)
    folder.mkdir(parents=True, exist_ok=True)
    for part, samples in (("val", data.splits.val), ("test", data.splits.test)):
        if samples:
            write_truth(samples, data.labels, folder / part)
    return _Fit(run, data, folder, _first_weights(cfg, start, config.seed)).go(on_epoch)


def _fit_cfg(path: Path, data: TrainingData, config: DetectionConfig) -> str:
    load_cfg(path)  # for its limits and messages
    text = path.read_text(encoding="utf-8-sig")
    classes = len(data.labels)
    text = adapt_cfg(text, classes=classes, image_size=config.image_size)
    if config.own_anchors:
        net = parse_cfg(text).net
        sizes = [sample.size or read_pixels(sample.path).shape[:2] for sample in data.train]
        sides = box_sides(data.train, sizes, (net.height, net.width))
        anchors = find_anchors(sides, anchor_count(text), config.seed)
        text = adapt_cfg(text, classes=classes, anchors=[(float(w), float(h)) for w, h in anchors])
    return text


def _first_weights(cfg: str, start: Start, seed: int) -> dict[int, ConvolutionWeights]:
    weights = first_weights(make_plan(parse_cfg(cfg)), seed)
    if start.weights is not None:
        given = read_weights(start.weights, make_plan(load_cfg(start.cfg)))
        same = {index for index, value in given.items() if value.kernels.shape == weights[index].kernels.shape}
        logger.info("weights of %d of %d layers are taken over", len(same), len(weights))
        weights |= {index: given[index] for index in same}
    return weights


class _Fit:
    """One run: the networks, and what has happened so far."""

    def __init__(
        self, run: DetectionRun, data: TrainingData, folder: Path, weights: dict[int, ConvolutionWeights]
    ) -> None:
        config = run.config
        self._run = run
        self._data = data
        self._folder = folder
        self._plan: Plan = make_plan(parse_cfg(run.cfg))
        size = (self._plan.input.height, self._plan.input.width)
        source = PictureSource(data.train, size, with_masks=config.augmentation.paste > 0)
        self._batches = Batches(
            Augmenter(source, len(data.train), size, config.augmentation),
            TargetEncoder(self._plan, config.positive_threshold),
            len(data.train),
            config.batch_size,
            config.seed,
        )
        self._trained = TrainedNetwork(self._plan, weights, config, steps=config.epochs * len(self._batches))
        self._network = build_network(self._plan, weights, Layout("channels_last"))
        self._average = AverageWeights(self._trained.trainable_variables, config.ema_decay)
        self._trained.optimizer.build(self._trained.trainable_variables)

    def go(self, on_epoch: Callable[[Epoch], None]) -> DetectionRun:
        """Train to the end."""
        self._resume()
        while self._run.ending is None:
            epoch = self._epoch(len(self._run.history) + 1)
            self._keep(epoch)
            self._save()
            on_epoch(epoch)
        self._finish()
        return self._run

    def _epoch(self, number: int) -> Epoch:
        config = self._run.config
        started = time.perf_counter()
        losses: list[dict[str, float]] = []
        step = (number - 1) * len(self._batches)
        for batch in self._batches.epoch(number):
            targets = {"truths": batch.targets.truths, "heads": list(batch.targets.heads)}
            losses.append(self._trained.train_on_batch(batch.images, targets, return_dict=True))
            step += 1
            self._average.update(step)
        figures = {name: round(float(np.mean([each[name] for each in losses])), 5) for name in LOSS_NAMES}
        if not np.isfinite(figures["loss"]):
            raise TrainingError("the loss is no number any more: try a lower learning rate, or float32")
        metrics = None
        if self._data.splits.val and (number % config.validate_every == 0 or number == config.epochs):
            self._average.assign_to(self._network, self._trained.network)
            metrics = measure(self._network, self._plan, self._run.labels, self._folder / "val")
        return Epoch(
            epoch=number,
            epochs=config.epochs,
            losses=figures,
            metrics=metrics,
            learning_rate=float(ops.convert_to_numpy(self._trained.optimizer.learning_rate)),
            seconds=round(time.perf_counter() - started, 2),
        )

    def _keep(self, epoch: Epoch) -> None:
        """Write the model if it is the best so far, and see whether this is the end."""
        run, config = self._run, self._run.config
        best = run.best
        if not self._data.splits.val:
            better = epoch.epoch == config.epochs
        else:
            better = epoch.metrics is not None and (best is None or _rank(epoch) >= _rank(best))
        if better:
            best = epoch
            self._average.assign_to(self._network, self._trained.network)
            seen = epoch.epoch * len(self._batches) * config.batch_size
            write_model(self._folder, run.name, run.cfg, take_weights(self._plan, self._network), run.labels, seen=seen)
        ending = None
        if epoch.epoch >= config.epochs:
            ending = "completed"
        elif config.patience and best is not None and epoch.epoch - best.epoch >= config.patience:
            ending = "stopped early"
        self._run = run.model_copy(update={"history": (*run.history, epoch), "best": best, "ending": ending})

    def _finish(self) -> None:
        """Measure the kept weights, read back from their file, on the part held out; write the entry."""
        run = self._run
        held_out = None
        if self._data.splits.test:
            weights = read_weights(self._folder / f"{run.name}.weights", self._plan)
            network = build_network(self._plan, weights, Layout("channels_last"))
            held_out = measure(network, self._plan, run.labels, self._folder / "test")
        self._run = run.model_copy(update={"held_out": held_out})
        description = f"Trained on {len(self._data.train)} images to find: {', '.join(run.labels[:10])}."
        entry = catalog_entry(self._folder, run.name, run.name, description)
        (self._folder / f"{run.name}.toml").write_text(entry, encoding="utf-8")
        save_document(self._folder / DOCUMENT, self._run)

    def _save(self) -> None:
        arrays = {
            "network": [ops.convert_to_numpy(variable) for variable in self._trained.network.weights],
            "average": [ops.convert_to_numpy(value) for value in self._average.values],
            "optimizer": [ops.convert_to_numpy(variable) for variable in self._trained.optimizer.variables],
        }
        save_checkpoint(self._folder / CHECKPOINT, Checkpoint(self._run.model_dump(mode="json"), arrays))
        save_document(self._folder / DOCUMENT, self._run)

    def _resume(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            return
        stored = load_checkpoint(path)
        before = DetectionRun.model_validate(stored.document)
        if before.plan_of_it() != self._run.plan_of_it():
            raise TrainingError(f"{self._folder} has a run with other settings or data: take another folder")
        targets = {"network": self._trained.network.weights, "optimizer": self._trained.optimizer.variables}
        for part, variables in targets.items():
            for variable, value in zip(variables, stored.arrays[part], strict=True):
                variable.assign(value)
        self._average.values = [ops.convert_to_tensor(value) for value in stored.arrays["average"]]
        self._run = before
        logger.info("going on after epoch %d", len(before.history))


def _rank(epoch: Epoch) -> tuple[float, float]:
    metrics = epoch.metrics or {}
    return metrics.get("AP", -1.0), metrics.get("AP50", -1.0)
