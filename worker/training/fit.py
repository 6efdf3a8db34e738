"""What all kinds of training have in common: epochs, the best of them, going on, the end.

The folder of a run has `training.json` (its record), `last.npz` (what it goes on from), the best model's files and its
catalogue entry (`.toml`). Where objects are found, `val/` and `test/` have the truth in COCO's format.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from shared.entries import ModelEntry
from shared.runs import Epoch, TrainingRun
from worker.training.checkpoint import CHECKPOINT, DOCUMENT, Checkpoint, load_checkpoint, save_checkpoint, save_document
from worker.training.config import RunConfig
from worker.training.entry_text import entry_text
from worker.training.errors import TrainingError
from worker.training.parts import TrainingData
from worker.training.replacing import replacing
from worker.training.truth import write_truth

logger = logging.getLogger(__name__)

#: what happened, not what was asked for
_OUTCOME: Final = frozenset({"history", "best", "ending", "held_out", "table"})


class FittedRun(TrainingRun):
    """The record of a run, as the trainer knows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: RunConfig

    def plan_of_it(self) -> dict[str, object]:
        """What must be the same for a run to be resumed."""
        return self.model_dump(mode="json", exclude=set(_OUTCOME))


R = TypeVar("R", bound=FittedRun)


class Fit(ABC, Generic[R]):
    """One run: the network that learns, and what has happened so far.

    Args:
        run: what is asked for.
        data: the images.
        folder: of the run; made if it is not there.
    """

    #: the figures by which epochs are compared, the first one first
    rank: tuple[str, ...] = ("AP", "AP50")

    def __init__(self, run: R, data: TrainingData, folder: Path) -> None:
        self._run = run
        self._data = data
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def _learn(self, number: int) -> list[dict[str, float]]:
        """Train for epoch `number`, from 1; returns the losses of each step, "loss" and its parts."""

    @abstractmethod
    def _learning_rate(self) -> float:
        """The present one."""

    @abstractmethod
    def _measure(self) -> dict[str, float]:
        """The figures of what has been learnt on the part `val`."""

    @abstractmethod
    def _write(self, epoch: int) -> None:
        """Write what has been learnt after so many epochs as the model's files."""

    @abstractmethod
    def _measure_written(self) -> dict[str, float]:
        """The figures of the weights in the model's files on the part `test`."""

    @abstractmethod
    def _entry(self) -> ModelEntry:
        """The entry for the catalogue."""

    @abstractmethod
    def _arrays(self) -> dict[str, list[NDArray[Any]]]:
        """All that changes while the network learns."""

    @abstractmethod
    def _restore(self, arrays: dict[str, list[NDArray[Any]]], epoch: int) -> None:
        """Take up what `_arrays` gave after `epoch` epochs."""

    def go(self, on_epoch: Callable[[Epoch], None]) -> R:
        """Train to the end, from the checkpoint if there is one.

        Args:
            on_epoch: told after each epoch, when its checkpoint is safe. What it raises ends the run, which can be
                resumed.

        Raises:
            TrainingError: the folder has a run with other settings or data, or the loss is no number any more.
        """
        self._resume()
        while self._run.ending is None:
            epoch = self._epoch(len(self._run.history) + 1)
            self._keep(epoch)
            save_checkpoint(self._folder / CHECKPOINT, Checkpoint(self._run.model_dump(mode="json"), self._arrays()))
            save_document(self._folder / DOCUMENT, self._run)
            on_epoch(epoch)
        # read back from its files, as those will who use them
        held_out = self._measure_written() if self._data.splits.test else None
        self._run = self._run.model_copy(update={"held_out": held_out})
        entry = entry_text(self._folder, self._entry())
        with replacing(self._folder / f"{self._run.name}.toml") as scratch:
            scratch.write_text(entry, encoding="utf-8")
        save_document(self._folder / DOCUMENT, self._run)
        return self._run

    def _epoch(self, number: int) -> Epoch:
        config = self._run.config
        started = time.perf_counter()
        steps = self._learn(number)
        losses = {name: round(float(np.mean([step[name] for step in steps])), 5) for name in steps[0]}
        if not np.isfinite(losses["loss"]):
            raise TrainingError("the loss is no number any more: try a lower learning rate, or float32")
        metrics = None
        if self._data.splits.val and (number % config.validate_every == 0 or number == config.epochs):
            metrics = self._measure()
        return Epoch(
            epoch=number,
            epochs=config.epochs,
            losses=losses,
            metrics=metrics,
            learning_rate=self._learning_rate(),
            seconds=round(time.perf_counter() - started, 2),
        )

    def _keep(self, epoch: Epoch) -> None:
        """Write the model if it is the best so far, and see whether this is the end."""
        config, best = self._run.config, self._run.best
        if not self._data.splits.val:
            better = epoch.epoch == config.epochs
        else:
            better = epoch.metrics is not None and (best is None or self._rank(epoch) >= self._rank(best))
        if better:
            best = epoch
            self._write(epoch.epoch)
        ending = None
        if epoch.epoch >= config.epochs:
            ending = "completed"
        elif config.patience and best is not None and epoch.epoch - best.epoch >= config.patience:
            ending = "stopped early"
        history = (*self._run.history, epoch)
        self._run = self._run.model_copy(update={"history": history, "best": best, "ending": ending})

    def _rank(self, epoch: Epoch) -> tuple[float, ...]:
        metrics = epoch.metrics or {}
        return tuple(metrics.get(name, -1.0) for name in self.rank)

    def _resume(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            return
        stored = load_checkpoint(path)
        before = type(self._run).model_validate(stored.document)
        if before.plan_of_it() != self._run.plan_of_it():
            raise TrainingError(f"{self._folder} has a run with other settings or data: take another folder")
        self._restore(stored.arrays, len(before.history))
        self._run = before
        logger.info("going on after epoch %d", len(before.history))


class FindingFit(Fit[R]):
    """A run of a network that finds objects."""

    def __init__(self, run: R, data: TrainingData, folder: Path) -> None:
        super().__init__(run, data, folder)
        for part, samples in (("val", data.splits.val), ("test", data.splits.test)):
            if samples:
                write_truth(samples, data.labels, folder / part)

    def _description(self) -> str:
        return f"Trained on {len(self._data.train)} images to find: {', '.join(self._run.labels[:10])}."
