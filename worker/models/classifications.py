"""What a classifier thinks of one image, as an array."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.results import Classification


@dataclass(frozen=True, slots=True)
class Classifications:
    """The probability of each class.

    Args:
        scores: float32 (classes,), from 0 to 1.
        labels: the names of all classes of the model.

    Raises:
        ValueError: there are not as many scores as labels.
    """

    scores: NDArray[np.float32]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.labels),):
            raise ValueError(f"scores {self.scores.shape} for {len(self.labels)} labels")

    def best(self, count: int) -> list[int]:
        """The ids of the `count` most probable classes, best first."""
        return [int(class_id) for class_id in np.argsort(-self.scores, kind="stable")[:count]]

    def to_results(self, top: int) -> list[Classification]:
        """The `top` most probable classes of a result document, best first, scores to 6 decimals."""
        return [self.to_result(class_id) for class_id in self.best(top)]

    def to_result(self, class_id: int) -> Classification:
        """One class of a result document."""
        score = round(min(max(float(self.scores[class_id]), 0.0), 1.0), 6)
        return Classification(label=self.labels[class_id], class_id=class_id, score=score)
