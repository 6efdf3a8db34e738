"""Checks that need Keras on TensorFlow: run in a process of their own, told by tests of this one.

TensorFlow does not share a process with other backends of Keras. A module of checks has functions `check_NAME(data,
folder)` and ends with `if __name__ == "__main__": run(globals())`.
"""

import json
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from tests.worker.environments import on_tensorflow

TIMEOUT = 900


def outcomes_of(module: str, data: Path, folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Run the named checks of a module, each in a folder of its own; an empty text for a check that passed."""
    if not list(Path(sys.prefix).glob("lib/python*/site-packages/tensorflow/__init__.py")):
        pytest.skip("TensorFlow is not installed")
    subprocess.run(
        [sys.executable, "-m", module, str(data), str(folder), *names], check=True, env=on_tensorflow(), timeout=TIMEOUT
    )
    found: dict[str, str] = json.loads((folder / "outcomes.json").read_text())
    return found


def run(namespace: dict[str, Any]) -> None:
    """The other process: `python -m MODULE DATA FOLDER NAME...`; writes FOLDER/outcomes.json."""
    import keras

    keras.utils.set_random_seed(0)
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    outcomes: dict[str, str] = {}
    for name in sys.argv[3:]:
        own = folder / name
        own.mkdir()
        try:
            namespace[f"check_{name}"](data, own)
            outcomes[name] = ""
        except Exception:  # noqa: BLE001 -- told by the test
            outcomes[name] = traceback.format_exc()
    (folder / "outcomes.json").write_text(json.dumps(outcomes))
