"""A training run, from a data set to a model's files. Imports Keras: choose the backend before.

The folder of a run has `training.json` (see `ClassificationRun`), `last.npz` (what a run goes on from), the best
model's `.keras` and class names (`.json`), and in the end its catalogue entry (`.toml`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from keras import ops
from numpy.typing import NDArray

from shared.runs import Epoch
from worker.engines import KerasModel
from worker.models.classifiers.model import PREPROCESSING
from worker.models.classifiers.networks import load_saved
from worker.models.classifiers.preprocess import scale_colours
from worker.models.files import file_sha256
from worker.training.checkpoint import (
    CHECKPOINT,
    DOCUMENT,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_document,
)
from worker.training.classifiers.augment import PhotoAugmenter, reseed
from worker.training.classifiers.config import ClassificationConfig
from worker.training.classifiers.data import TrainingData, class_weights, divide
from worker.training.classifiers.document import BackboneFile, ClassificationRun
from worker.training.classifiers.export import make_entry, write_model
from worker.training.classifiers.measuring import figures, table
from worker.training.classifiers.network import Stage, TrainedNetwork, build_network, stages, with_probabilities
from worker.training.classifiers.pictures import Pictures
from worker.training.datasets.description import Dataset
from worker.training.entry_text import entry_text
from worker.training.errors import TrainingError

logger = logging.getLogger(__name__)

#: pictures measured at once
MEASURED: Final = 32


def train_classifier(
    name: str,
    dataset: Dataset,
    folder: Path,
    config: ClassificationConfig,
    *,
    classes: Sequence[str] | None = None,
    weights: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> ClassificationRun:
    """Train a classifier, or go on with a run that was broken off in `folder`.

    Args:
        name: of the model and its files.
        dataset: a class for each image, or boxes, which are then cut out; it is split, and the test part never seen
            before the end.
        folder: of this run; made if it is not there.
        config: how to train.
        classes: the classes to tell apart, of those of the data set; None: all.
        weights: that the backbone begins with, of 1000 classes; None: from scratch.
        on_epoch: told after each epoch, when its checkpoint is safe. What it raises ends the run, which can be resumed.

    Returns:
        The record, as in `training.json`.

    Raises:
        DatasetError: nothing to tell apart, an unknown class, or an image cannot be read.
        ClassifierError: the weights are of another network.
        TrainingError: the folder has a run with other settings or data, or the loss is no number any more.
    """
    data = divide(dataset, classes, config)
    start = None if weights is None else BackboneFile(name=weights.name, sha256=file_sha256(weights))
    run = ClassificationRun(name=name, config=config, labels=data.labels, files=data.files, start=start)
    folder.mkdir(parents=True, exist_ok=True)
    return _Fit(run, data, folder, weights).go(on_epoch)


class _Fit:
    """One run: the networks, and what has happened so far."""

    def __init__(self, run: ClassificationRun, data: TrainingData, folder: Path, weights: Path | None) -> None:
        config = run.config
        self._run = run
        self._data = data
        self._folder = folder
        self._preprocessing = PREPROCESSING[config.backbone]
        self._train = Pictures(data.splits.train, config.image_size)
        self._val = Pictures(data.splits.val, config.image_size)
        self._augmenter = PhotoAugmenter(config.augmentation)
        classes = len(run.labels)
        self._class_weights = (
            class_weights(self._train.class_ids, classes) if config.class_weights else np.ones(classes, np.float32)
        )
        self._trained = TrainedNetwork(config, classes, weights)
        self._network = build_network(config, classes)
        self._classifier = with_probabilities(self._network)
        self._stages = stages(config, scratch=weights is None)

    def go(self, on_epoch: Callable[[Epoch], None]) -> ClassificationRun:
        """Train to the end."""
        self._resume()
        while self._run.ending is None:
            epoch = self._epoch(len(self._run.history) + 1)
            self._keep(epoch)
            self._save()
            on_epoch(epoch)
        self._finish()
        return self._run

    @property
    def _steps(self) -> int:
        return -(-len(self._train) // self._run.config.batch_size)

    def _stage(self, number: int) -> Stage:
        return next(stage for stage in self._stages if number <= stage.last)

    def _begin(self, stage: Stage) -> None:
        self._trained.begin(stage, stage.epochs * self._steps)

    def _epoch(self, number: int) -> Epoch:
        config = self._run.config
        started = time.perf_counter()
        if number == self._stage(number).first:
            self._begin(self._stage(number))
        reseed([*self._augmenter.layers, *self._trained.network.layers], config.seed, number)
        order = np.random.default_rng([config.seed, number]).permutation(len(self._train))
        if number == 1:
            first = self._train.take(order[: config.batch_size].tolist())
            self._trained.see_first(scale_colours(first, self._preprocessing))
        # every batch has as many, the last one of an epoch is filled up from its beginning
        losses = [self._step(part) for part in np.resize(order, (self._steps, config.batch_size))]
        loss = round(float(np.mean(losses)), 5)
        if not np.isfinite(loss):
            raise TrainingError("the loss is no number any more: try a lower learning rate, or float32")
        self._network.set_weights(self._trained.network.get_weights())
        metrics = figures(self._val.class_ids, self._measure(self._classifier, self._val)) if len(self._val) else None
        return Epoch(
            epoch=number,
            epochs=config.epochs,
            losses={"loss": loss},
            metrics=metrics,
            learning_rate=float(ops.convert_to_numpy(self._trained.optimizer.learning_rate)),
            seconds=round(time.perf_counter() - started, 2),
        )

    def _step(self, indices: NDArray[np.int64]) -> float:
        class_ids = self._train.class_ids[indices]
        pictures = self._augmenter(self._train.take(indices.tolist()))
        truth = np.eye(len(self._run.labels), dtype=np.float32)[class_ids]
        return self._trained.step(scale_colours(pictures, self._preprocessing), truth, self._class_weights[class_ids])

    def _measure(self, classifier: KerasModel, pictures: Pictures) -> NDArray[np.float32]:
        """The probabilities (N, classes) of all pictures."""
        parts = [range(first, min(first + MEASURED, len(pictures))) for first in range(0, len(pictures), MEASURED)]
        found = [classifier.predict_on_batch(scale_colours(pictures.take(part), self._preprocessing)) for part in parts]
        return np.concatenate(found).astype(np.float32)

    def _keep(self, epoch: Epoch) -> None:
        """Write the model if it is the best so far, and see whether this is the end."""
        run, config = self._run, self._run.config
        best = run.best
        last = epoch.epoch >= config.epochs
        better = last if epoch.metrics is None else best is None or _rank(epoch) >= _rank(best)
        if better:
            best = epoch
            write_model(self._folder, run.name, self._classifier, run.labels)
        ending = None
        if last:
            ending = "completed"
        elif config.patience and best is not None and epoch.epoch - best.epoch >= config.patience:
            ending = "stopped early"
        self._run = run.model_copy(update={"history": (*run.history, epoch), "best": best, "ending": ending})

    def _finish(self) -> None:
        """Measure the kept model, read back from its file, on the part held out; write the entry."""
        run = self._run
        update = {}
        if self._data.splits.test:
            test = Pictures(self._data.splits.test, run.config.image_size)
            found = self._measure(load_saved(self._folder / f"{run.name}.keras"), test)
            update = {
                "held_out": figures(test.class_ids, found),
                "table": table(run.labels, test.class_ids, found),
            }
        self._run = run.model_copy(update=update)
        entry = make_entry(run.name, run.config, run.labels, len(self._train))
        (self._folder / f"{run.name}.toml").write_text(entry_text(self._folder, entry), encoding="utf-8")
        save_document(self._folder / DOCUMENT, self._run)

    def _save(self) -> None:
        arrays = {
            "network": [ops.convert_to_numpy(variable) for variable in self._trained.network.weights],
            "optimizer": [ops.convert_to_numpy(variable) for variable in self._trained.optimizer.variables],
        }
        save_checkpoint(self._folder / CHECKPOINT, Checkpoint(self._run.model_dump(mode="json"), arrays))
        save_document(self._folder / DOCUMENT, self._run)

    def _resume(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            return
        stored = load_checkpoint(path)
        before = ClassificationRun.model_validate(stored.document)
        if before.plan_of_it() != self._run.plan_of_it():
            raise TrainingError(f"{self._folder} has a run with other settings or data: take another folder")
        self._begin(self._stage(len(before.history)))
        targets = {"network": self._trained.network.weights, "optimizer": self._trained.optimizer.variables}
        for part, variables in targets.items():
            for variable, value in zip(variables, stored.arrays[part], strict=True):
                variable.assign(value)
        self._run = before
        logger.info("going on after epoch %d", len(before.history))


def _rank(epoch: Epoch) -> tuple[float, float]:
    metrics = epoch.metrics or {}
    return metrics.get("f1", -1.0), -metrics.get("loss", np.inf)
