"""Training of detectors on TensorFlow, in one process of its own for all checks: see `tensorflow_checks`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import ROOT

CHECKS = (
    "loss",
    "perfect_outputs_cost_nothing",
    "gradients",
    "overfit",
    "resume",
    "early_stopping",
    "start_from_weights",
    "small_cfg",
)


@pytest.fixture(scope="module")
def outcomes(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if not list(Path(sys.prefix).glob("lib/python*/site-packages/tensorflow/__init__.py")):
        pytest.skip("TensorFlow is not installed")
    folder = tmp_path_factory.mktemp("training")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": "2",
    }
    subprocess.run(
        [sys.executable, "-m", "tests.worker.training.tensorflow_checks", str(data_dir), str(folder), *CHECKS],
        check=True,
        env=environment,
        timeout=900,
    )
    found: dict[str, str] = json.loads((folder / "outcomes.json").read_text())
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_on_tensorflow(outcomes: dict[str, str], check: str) -> None:
    assert not outcomes[check], outcomes[check]
