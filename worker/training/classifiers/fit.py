"""A training run. Imports Keras."""

from collections.abc import Callable, Sequence
from pathlib import Path

from shared.runs import Epoch
from worker.training.classifiers.config import ClassificationConfig
from worker.training.classifiers.document import ClassificationRun
from worker.training.datasets.description import Dataset


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
    """Train a classifier."""
    raise NotImplementedError
