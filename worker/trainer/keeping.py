"""The files of a run in storage: what another attempt goes on from, on whatever machine."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from shared.errors import PublicError
from shared.storage import Storage
from shared.trainings import run_prefix
from worker.training.checkpoint import CHECKPOINT
from worker.training.runs import files_to_go_on

log = logging.getLogger(__name__)

#: at most this share of a run's time is spent on copying checkpoints
SHARE: Final = 0.1


class RunKeeper:
    """Copies the folder of a run to storage after its epochs, and back for the next attempt.

    Args:
        storage: where to.
        training_id: whose run it is.
        name: of the model.
        folder: of the run, on this machine.
    """

    def __init__(self, storage: Storage, training_id: str, name: str, folder: Path) -> None:
        self._storage = storage
        self._prefix = run_prefix(training_id)
        self._name = name
        self._folder = folder
        self._kept: dict[str, tuple[int, int]] = {}
        self._next = 0.0

    def restore(self) -> None:
        """Bring back what an attempt before has left."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for stat in self._storage.list(self._prefix):
            self._storage.get_file(stat.key, self._folder / stat.key.removeprefix(self._prefix))

    def keep(self) -> None:
        """Copy what has changed, unless that was done a moment ago. Call when the checkpoint of an epoch is safe."""
        began = time.monotonic()
        if began < self._next:
            return
        # the checkpoint last: a broken-off copy is then a run that is an epoch behind its model, not ahead of it
        paths = sorted(files_to_go_on(self._folder, self._name), key=lambda path: path.name == CHECKPOINT)
        try:
            self._copy(paths)
        except PublicError as error:  # the run goes on meanwhile; only what a crash would cost has grown
            log.warning("the checkpoint cannot be stored: %s", error)
        ended = time.monotonic()
        self._next = ended + (ended - began) / SHARE

    def finish(self) -> None:
        """Copy the result; what the run went on from is not needed any more."""
        self._copy(path for path in files_to_go_on(self._folder, self._name) if path.name != CHECKPOINT)
        self._storage.delete(f"{self._prefix}{CHECKPOINT}")

    def _copy(self, paths: Iterable[Path]) -> None:
        for path in paths:
            stat = path.stat()
            if self._kept.get(path.name) == (stat.st_mtime_ns, stat.st_size):
                continue
            self._storage.put_file(f"{self._prefix}{path.name}", path)
            self._kept[path.name] = (stat.st_mtime_ns, stat.st_size)
