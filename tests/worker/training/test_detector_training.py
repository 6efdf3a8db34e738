"""Training of detectors on TensorFlow, in one process of its own for all checks: see `tensorflow_checks`."""

from pathlib import Path

import pytest

from tests.worker.training.checks import outcomes_of

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
    folder = tmp_path_factory.mktemp("training")
    return outcomes_of("tests.worker.training.tensorflow_checks", data_dir, folder, CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_on_tensorflow(outcomes: dict[str, str], check: str) -> None:
    assert not outcomes[check], outcomes[check]
