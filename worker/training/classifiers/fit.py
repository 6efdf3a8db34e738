"""A training run, from a data set to a model's files. Imports Keras: choose the backend before.

The folder of a run has what `worker.training.fit` says; the model's files are `.keras` and class names, `.json`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from keras import ops
from numpy.typing import NDArray

from shared.entries import ClassifierEntry
from shared.runs import Epoch
from worker.engines import KerasModel
from worker.models.classifiers.model import PREPROCESSING
from worker.models.classifiers.networks import load_saved
from worker.models.classifiers.preprocess import scale_colours
from worker.models.files import file_sha256
from worker.training.classifiers.augment import PhotoAugmenter, reseed
from worker.training.classifiers.config import ClassificationConfig
from worker.training.classifiers.data import class_weights, divide
from worker.training.classifiers.document import BackboneFile, ClassificationRun
from worker.training.classifiers.export import make_entry, write_model
from worker.training.classifiers.measuring import figures, table
from worker.training.classifiers.network import Stage, TrainedNetwork, build_network, stages, with_probabilities
from worker.training.classifiers.pictures import Pictures
from worker.training.datasets.description import Dataset
from worker.training.fit import Fit
from worker.training.optimizing import read_variables, write_variables
from worker.training.order import batch_count, made_ahead
from worker.training.parts import TrainingData

Floats = NDArray[np.float32]

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
    return _ClassifierFit(run, data, folder, weights).go(on_epoch)


class _ClassifierFit(Fit[ClassificationRun]):
    """One run: the networks, and what has happened so far."""

    def __init__(self, run: ClassificationRun, data: TrainingData, folder: Path, weights: Path | None) -> None:
        super().__init__(run, data, folder)
        config = run.config
        self._preprocessing = PREPROCESSING[config.backbone]
        self._train = Pictures(data.train, config.image_size)
        self._val = Pictures(data.splits.val, config.image_size)
        self._augmenter = PhotoAugmenter(config.augmentation)
        classes = len(run.labels)
        self._class_weights = (
            class_weights(self._train.class_ids, classes) if config.class_weights else np.ones(classes, np.float32)
        )
        self._trained = TrainedNetwork(config, classes, weights)
        # the one that is measured and saved, whatever precision the other learns in
        self._network = build_network(config, classes)
        self._classifier = with_probabilities(self._network)
        self._stages = stages(config, scratch=weights is None)

    def _stage(self, epoch: int) -> Stage:
        return next(stage for stage in self._stages if epoch <= stage.last)

    def _begin(self, stage: Stage) -> None:
        batches = batch_count(len(self._train), self._run.config.batch_size)
        self._trained.begin(stage, stage.epochs * batches)

    def _learn(self, number: int) -> list[dict[str, float]]:
        config = self._run.config
        if number == self._stage(number).first:
            self._begin(self._stage(number))
        if number == 1:
            pictures = self._train.take(range(min(len(self._train), config.batch_size)))
            self._trained.see_first(scale_colours(pictures, self._preprocessing))
        reseed([*self._augmenter.layers, *self._trained.network.layers], config.seed, number)
        batches = made_ahead(self._batch, len(self._train), config.batch_size, config.seed, number)
        return [{"loss": self._trained.step(*batch)} for batch in batches]

    def _batch(self, epoch: int, number: int, indices: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Pictures as the network takes them, the wanted probabilities (batch, classes), and how much each counts."""
        del epoch, number  # the augmenter was seeded for the epoch
        class_ids = self._train.class_ids[indices]
        pictures = self._augmenter(self._train.take(indices.tolist()))
        truth = np.eye(len(self._run.labels), dtype=np.float32)[class_ids]
        return scale_colours(pictures, self._preprocessing), truth, self._class_weights[class_ids]

    def _learning_rate(self) -> float:
        return float(ops.convert_to_numpy(self._trained.optimizer.learning_rate))

    def _measure(self) -> dict[str, float]:
        self._network.set_weights(self._trained.network.get_weights())
        return figures(self._val.class_ids, self._probabilities(self._classifier, self._val))

    def _probabilities(self, classifier: KerasModel, pictures: Pictures) -> Floats:
        """Of all pictures, (N, classes)."""
        parts = [range(first, min(first + MEASURED, len(pictures))) for first in range(0, len(pictures), MEASURED)]
        found = [classifier.predict_on_batch(scale_colours(pictures.take(part), self._preprocessing)) for part in parts]
        return np.concatenate(found).astype(np.float32)

    def _write(self, epoch: int) -> None:
        del epoch
        self._network.set_weights(self._trained.network.get_weights())
        write_model(self._folder, self._run.name, self._classifier, self._run.labels)

    def _measure_written(self) -> dict[str, float]:
        """Also notes the table of classes."""
        run = self._run
        test = Pictures(self._data.splits.test, run.config.image_size)
        found = self._probabilities(load_saved(self._folder / f"{run.name}.keras"), test)
        self._run = run.model_copy(update={"table": table(run.labels, test.class_ids, found)})
        return figures(test.class_ids, found)

    def _rank(self, epoch: Epoch) -> tuple[float, ...]:
        metrics = epoch.metrics or {}
        return metrics.get("f1", -1.0), -metrics.get("loss", np.inf)

    def _entry(self) -> ClassifierEntry:
        return make_entry(self._run.name, self._run.config, self._run.labels, len(self._train))

    def _arrays(self) -> dict[str, list[NDArray[Any]]]:
        return read_variables(self._variables())

    def _restore(self, arrays: dict[str, list[NDArray[Any]]], epoch: int) -> None:
        self._begin(self._stage(epoch))
        write_variables(self._variables(), arrays)

    def _variables(self) -> dict[str, list[Any]]:
        return {"network": self._trained.network.weights, "optimizer": self._trained.optimizer.variables}
