"""A training run, from data sets to a model's files. Imports Keras: choose the backend before."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keras import ops
from numpy.typing import NDArray

from shared.entries import DarknetEntry
from shared.runs import Epoch
from worker.models.darknet.cfg import load_cfg, parse_cfg
from worker.models.darknet.network import Layout, build_network
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import ConvolutionWeights, read_weights
from worker.training.darknet.anchors import box_sides, find_anchors
from worker.training.darknet.augment import Augmenter
from worker.training.darknet.batches import Batches
from worker.training.darknet.cfg_text import adapt_cfg, anchor_count
from worker.training.darknet.config import DetectionConfig
from worker.training.darknet.document import DetectionRun
from worker.training.darknet.export import make_entry, write_model
from worker.training.darknet.measuring import measure
from worker.training.darknet.network import LOSS_NAMES, TrainedNetwork, first_weights, take_weights
from worker.training.darknet.targets import TargetEncoder
from worker.training.datasets.description import Dataset
from worker.training.datasets.pixels import read_pixels
from worker.training.fit import FindingFit
from worker.training.optimizing import AverageWeights, read_variables, write_variables
from worker.training.parts import TrainingData, divide
from worker.training.source import PictureSource

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
    return _DetectorFit(run, data, folder, _first_weights(cfg, start, config.seed)).go(on_epoch)


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


class _DetectorFit(FindingFit[DetectionRun]):
    """One run: the networks, and what has happened so far."""

    def __init__(
        self, run: DetectionRun, data: TrainingData, folder: Path, weights: dict[int, ConvolutionWeights]
    ) -> None:
        super().__init__(run, data, folder)
        config = run.config
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

    def _learn(self, number: int) -> list[dict[str, float]]:
        losses: list[dict[str, float]] = []
        step = (number - 1) * len(self._batches)
        for batch in self._batches.epoch(number):
            targets = {"truths": batch.targets.truths, "heads": list(batch.targets.heads)}
            found = self._trained.train_on_batch(batch.images, targets, return_dict=True)
            losses.append({name: float(found[name]) for name in LOSS_NAMES})
            step += 1
            self._average.update(step)
        return losses

    def _learning_rate(self) -> float:
        return float(ops.convert_to_numpy(self._trained.optimizer.learning_rate))

    def _measure(self) -> dict[str, float]:
        self._average.assign_to(self._network, self._trained.network)
        return measure(self._network, self._plan, self._run.labels, self._folder / "val")

    def _write(self, epoch: int) -> None:
        run = self._run
        self._average.assign_to(self._network, self._trained.network)
        seen = epoch * len(self._batches) * run.config.batch_size
        write_model(self._folder, run.name, run.cfg, take_weights(self._plan, self._network), run.labels, seen=seen)

    def _measure_written(self) -> dict[str, float]:
        weights = read_weights(self._folder / f"{self._run.name}.weights", self._plan)
        network = build_network(self._plan, weights, Layout("channels_last"))
        return measure(network, self._plan, self._run.labels, self._folder / "test")

    def _entry(self) -> DarknetEntry:
        return make_entry(self._run.name, self._description())

    def _arrays(self) -> dict[str, list[NDArray[Any]]]:
        return read_variables({**self._variables(), "average": self._average.values})

    def _restore(self, arrays: dict[str, list[NDArray[Any]]], epoch: int) -> None:
        del epoch
        write_variables(self._variables(), arrays)
        self._average.values = [ops.convert_to_tensor(value) for value in arrays["average"]]

    def _variables(self) -> dict[str, list[Any]]:
        return {"network": self._trained.network.weights, "optimizer": self._trained.optimizer.variables}
