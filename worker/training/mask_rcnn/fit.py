"""A training run, from pictures with masks to a model's files. Imports TensorFlow: choose the backend before."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras import ops
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry
from shared.runs import Epoch
from worker.models.mask_rcnn.heads import build_box_head, build_mask_head
from worker.models.mask_rcnn.plan import LayerWeights, Plan
from worker.models.mask_rcnn.trunk import build_trunk
from worker.models.mask_rcnn.weights_matterport import read_matterport
from worker.training.datasets.description import Dataset
from worker.training.errors import TrainingError
from worker.training.fit import FindingFit
from worker.training.mask_rcnn.batches import Batches
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.document import MasksRun
from worker.training.mask_rcnn.export import write_model
from worker.training.mask_rcnn.measuring import measure
from worker.training.mask_rcnn.network import LOSS_NAMES, TrainedMaskRcnn
from worker.training.mask_rcnn.start import start_weights
from worker.training.optimizing import read_variables, write_variables
from worker.training.parts import TrainingData, divide
from worker.training.source import PictureSource


def train_mask_rcnn(
    entry: MaskRcnnEntry,
    dataset: Dataset,
    folder: Path,
    config: MaskRcnnConfig,
    *,
    also: Sequence[Dataset] = (),
    weights: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> MasksRun:
    """Train a network, or go on with a run that was broken off in `folder`.

    Regions of several objects (COCO's `iscrowd`) are not learnt, and not kept from being background either.

    Args:
        entry: the network, in Matterport's layout, and the names of its files. They are written as float16.
        dataset: with masks; it is split, and the test part never seen before the end.
        folder: of this run; made if it is not there.
        config: how to train.
        also: further data sets with masks: all their images are trained on, with the objects whose labels are in
            `dataset`.
        weights: to start from, see `start_weights`; without: from scratch.
        on_epoch: told after each epoch, when its checkpoint is safe. What it raises ends the run, which can be resumed.

    Returns:
        The record, as in `training.json`.

    Raises:
        TrainingError: another layout, a data set without masks, the folder has a run with other settings or data, the
            weights to start from do not fit, or the loss is no number any more.
        DatasetError: nothing to learn from, or an image cannot be read.
        ModelFileError: the weights to start from cannot be read.
    """
    if entry.layout != "matterport":
        raise TrainingError("only networks in Matterport's layout can be trained")
    for each in (dataset, *also):
        if each.kind != "masks":
            raise TrainingError(f"{each.root.name} has no masks")
    data = divide(dataset, also, config)
    first = start_weights(Plan.of(entry, len(data.labels)), config.seed, weights)
    run = MasksRun(name=entry.name, config=config, labels=data.labels, files=data.files, entry=entry)
    return _MaskRcnnFit(run, data, folder, first).go(on_epoch)


class _MaskRcnnFit(FindingFit[MasksRun]):
    """One run: the network, and what has happened so far."""

    rank = ("mask_AP", "mask_AP50")

    def __init__(self, run: MasksRun, data: TrainingData, folder: Path, weights: LayerWeights) -> None:
        super().__init__(run, data, folder)
        self._plan = Plan.of(run.entry, len(run.labels))
        source = PictureSource(data.train, self._plan.canvas((1, 1)), with_masks=True)
        self._batches = Batches(self._plan, source, len(data.train), run.config)
        self._network = TrainedMaskRcnn(self._plan, weights, run.config)

    def _learn(self, number: int) -> list[dict[str, float]]:
        self._begin(number)
        steps = [self._network.step(batch) for batch in self._batches.epoch(number)]
        return [{name: step[name] for name in LOSS_NAMES} for step in steps]

    def _begin(self, epoch: int) -> None:
        """Make the network ready for an epoch, if the one before taught another part."""
        config = self._run.config
        part = config.part_of(epoch)
        if self._network.part != part:
            self._network.begin(part, config.epochs_of(part) * len(self._batches))

    def _learning_rate(self) -> float:
        return float(ops.convert_to_numpy(self._network.optimizer.learning_rate))

    def _measure(self) -> dict[str, float]:
        with self._network.averaged():
            return measure(self._network.parts, self._run.entry, self._run.labels, self._folder / "val")

    def _write(self, epoch: int) -> None:
        del epoch
        with self._network.averaged():
            write_model(self._folder, self._run.entry, self._network.weights(), self._run.labels, half=True)

    def _measure_written(self) -> dict[str, float]:
        weights = read_matterport(self._folder / self._run.entry.weights.name, self._plan)
        trunk = build_trunk(self._plan, self._plan.canvas((1, 1)), weights, "channels_last")
        heads = build_box_head(self._plan, weights), build_mask_head(self._plan, weights, "channels_last")
        return measure((trunk, *heads), self._run.entry, self._run.labels, self._folder / "test")

    def _entry(self) -> MaskRcnnEntry:
        return self._run.entry.model_copy(update={"description": self._description()})

    def _arrays(self) -> dict[str, list[NDArray[Any]]]:
        return read_variables({**self._variables(), "average": self._network.average.values})

    def _restore(self, arrays: dict[str, list[NDArray[Any]]], epoch: int) -> None:
        self._begin(epoch)
        write_variables(self._variables(), arrays)
        self._network.average.values = [ops.convert_to_tensor(value) for value in arrays["average"]]

    def _variables(self) -> dict[str, list[Any]]:
        return {"network": self._network.variables, "optimizer": self._network.optimizer.variables}
