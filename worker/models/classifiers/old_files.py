"""Whole models in HDF5, as Keras 2 saved them and Keras 3 still can.

Imports Keras: choose the backend before.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import h5py
import keras

from worker.engines import KerasModel


def load_old(path: Path) -> KerasModel:
    """Load a model whose file `check_saved` has found harmless.

    Raises:
        ValueError, KeyError, TypeError: what Keras says of a file that it does not understand.
    """
    with h5py.File(path) as file:
        text = file.attrs["model_config"]
    document = json.loads(text)
    if not _modernise(document):
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    # Keras reads the architecture from the file, and the user's own file is not ours to change
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        shutil.copyfile(path, copy)
        copy.chmod(0o600)
        with h5py.File(copy, "r+") as file:
            del file.attrs["model_config"]
            file.attrs["model_config"] = json.dumps(document)
        return keras.saving.load_model(copy, compile=False, safe_mode=True)


def _modernise(value: Any) -> bool:  # noqa: ANN401
    """Take out what Keras 2 wrote and Keras 3 does not take; say whether there was anything.

    A `DepthwiseConv2D`, of which MobileNets are made, has `groups: 1` there.
    """
    changed = False
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") == "DepthwiseConv2D" and isinstance(config, dict) and config.get("groups") == 1:
            del config["groups"]
            changed = True
        for item in value.values():
            changed |= _modernise(item)
    elif isinstance(value, list):
        for item in value:
            changed |= _modernise(item)
    return changed
