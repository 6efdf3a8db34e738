"""What a run keeps in its folder between two epochs; each file is there whole or not at all."""

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.runs import TrainingRun
from worker.training.errors import TrainingError
from worker.training.replacing import replacing

#: names in a run's folder: what it goes on from, and its record
CHECKPOINT: Final = "last.npz"
DOCUMENT: Final = "training.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a run goes on from.

    Args:
        document: the run's JSON document, with its settings, and what happened so far.
        arrays: named lists of variables.
    """

    document: dict[str, Any]
    arrays: dict[str, list[NDArray[Any]]]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write, sync and rename: a process killed half-way leaves the one before."""
    text = np.frombuffer(json.dumps(checkpoint.document).encode(), np.uint8)
    named = {
        f"{name}/{index}": array for name, arrays in checkpoint.arrays.items() for index, array in enumerate(arrays)
    }
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, allow_pickle=False, document=text, **named)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        TrainingError: it is broken.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            document = json.loads(stored["document"].tobytes())
            arrays: dict[str, list[NDArray[Any]]] = {}
            for key in stored.files:  # in the order of writing
                name, _, _index = key.rpartition("/")
                if name:
                    arrays.setdefault(name, []).append(stored[key])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path.name} is broken: start again without it") from error
    return Checkpoint(document, arrays)


def save_document(path: Path, run: TrainingRun) -> None:
    """Write the record of a run."""
    with replacing(path) as scratch:
        scratch.write_text(run.model_dump_json(indent=2), encoding="utf-8")
