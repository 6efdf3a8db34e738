"""A training run, from pictures with masks to a model's files. Imports TensorFlow: choose the backend before."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from keras import ops
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry
from worker.models.mask_rcnn.plan import Plan
from worker.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from worker.training.darknet.augment import Source
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.batches import Batches
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.export import catalog_entry, write_model
from worker.training.mask_rcnn.network import LOSS_NAMES, TrainedMaskRcnn
from worker.training.mask_rcnn.start import first_weights

logger = logging.getLogger(__name__)

CHECKPOINT: Final = "last.npz"


@dataclass(frozen=True, slots=True)
class Progress:
    """An epoch that is over.

    Args:
        epoch: from 1, over all stages.
        epochs: of all stages.
        losses: means of the epoch, by `LOSS_NAMES`, and the largest norm of a gradient ("gradient").
        learning_rate: at its end.
        seconds: that it took.
    """

    epoch: int
    epochs: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float


def train_mask_rcnn(
    entry: MaskRcnnEntry,
    labels: Sequence[str],
    source: Source,
    count: int,
    folder: Path,
    config: MaskRcnnConfig,
    *,
    weights: Mapping[str, Mapping[str, NDArray[np.float32]]] | None = None,
    half: bool = False,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> str:
    """Train a network, or go on with a run that was broken off in `folder`.

    Args:
        entry: the network, in Matterport's layout, and the names of its files.
        labels: the class names, without the background.
        source: the training pictures, with masks.
        count: how many there are.
        folder: of this run; made if it is not there. Gets the weights, class names, `NAME.toml` and `last.npz`.
        config: how to train.
        weights: to start from, of all layers (`read_matterport`); without: from scratch.
        half: store float16.
        on_epoch: told after each epoch, when its checkpoint is safe. What it raises ends the run, which can be resumed.

    Returns:
        The entry for the catalogue, as text.

    Raises:
        TrainingError: another layout, nothing to learn from, the folder has a run with other settings, or the loss is
            no number any more.
    """
    if entry.layout != "matterport":
        raise TrainingError("only networks in Matterport's layout can be trained")
    if count < 1:
        raise TrainingError("there are no images to learn from")
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan.of(entry, len(labels))
    batches = Batches(plan, source, count, config)
    network = TrainedMaskRcnn(plan, first_weights(plan, config.seed) if weights is None else weights, config)
    document = {"plan": plan.digest, "config": config.model_dump(mode="json"), "images": count}
    begun = _Resumed(folder / CHECKPOINT, document)
    epochs = sum(stage.epochs for stage in config.stages)
    first = 1
    for stage in config.stages:
        last = first + stage.epochs - 1
        if begun.epoch < last:
            network.begin(stage, stage.epochs * len(batches))
            begun.restore(network, within_stage=begun.epoch >= first)
            for number in range(max(first, begun.epoch + 1), last + 1):
                progress = _epoch(network, batches, number, epochs)
                _save(folder / CHECKPOINT, {**document, "epoch": number}, network)
                on_epoch(progress)
        first = last + 1
    begun.restore(network, within_stage=False)  # of a run that was over: only its files are written anew
    write_model(folder, entry, network.weights(), labels, half=half)
    text = catalog_entry(folder, entry)
    (folder / f"{entry.name}.toml").write_text(text, encoding="utf-8")
    return text


def _epoch(network: TrainedMaskRcnn, batches: Batches, number: int, epochs: int) -> Progress:
    started = time.perf_counter()
    steps = [network.step(batch) for batch in batches.epoch(number)]
    losses = {name: float(np.mean([step[name] for step in steps])) for name in LOSS_NAMES}
    losses["gradient"] = max(step["gradient"] for step in steps)
    if not np.isfinite(list(losses.values())).all():
        raise TrainingError("the loss is no number any more: try a lower learning rate")
    rate = float(ops.convert_to_numpy(network.optimizer.learning_rate))
    return Progress(number, epochs, losses, rate, time.perf_counter() - started)


class _Resumed:
    """What a checkpoint has, if there is one.

    Args:
        path: of the checkpoint.
        document: of this run; another one's checkpoint is refused.
    """

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        #: how many epochs are done
        self.epoch = 0
        #: until they are put into the network
        self.arrays: dict[str, list[NDArray[Any]]] = {}
        if not path.exists():
            return
        stored = load_checkpoint(path)
        if {name: stored.document.get(name) for name in document} != document:
            raise TrainingError(f"{path.parent} has a run with other settings or data: take another folder")
        self.epoch = int(stored.document["epoch"])
        self.arrays = stored.arrays
        logger.info("going on after epoch %d", self.epoch)

    def restore(self, network: TrainedMaskRcnn, *, within_stage: bool) -> None:
        """Give the network its weights back, and the optimizer its state if it is of the same stage; once."""
        if not self.arrays:
            return
        targets = {"network": network.variables}
        if within_stage:
            targets["optimizer"] = network.optimizer.variables
        for part, variables in targets.items():
            for variable, value in zip(variables, self.arrays[part], strict=True):
                variable.assign(value)
        self.arrays = {}


def _save(path: Path, document: dict[str, Any], network: TrainedMaskRcnn) -> None:
    arrays = {
        "network": [ops.convert_to_numpy(variable) for variable in network.variables],
        "optimizer": [ops.convert_to_numpy(variable) for variable in network.optimizer.variables],
    }
    save_checkpoint(path, Checkpoint(document, arrays))
