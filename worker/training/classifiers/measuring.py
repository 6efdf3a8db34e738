"""How good a classifier in training is, by scikit-learn. Imports no Keras."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from shared.runs import ClassScores, ClassTable

#: after the point
DIGITS: Final = 5


def figures(class_ids: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
    """The figures of `shared.runs.Epoch.metrics`.

    Args:
        class_ids: the truth, int64 (N,).
        probabilities: (N, classes).
    """
    found = probabilities.argmax(axis=1)
    every = np.arange(probabilities.shape[1])
    exact = probabilities.astype(np.float64)
    values = {
        "accuracy": accuracy_score(class_ids, found),
        # of the classes that this part has pictures of
        "f1": f1_score(class_ids, found, labels=np.unique(class_ids), average="macro", zero_division=0),
        "loss": log_loss(class_ids, exact / exact.sum(axis=1, keepdims=True), labels=every),
    }
    return {name: round(float(value), DIGITS) for name, value in values.items()}


def table(labels: Sequence[str], class_ids: NDArray[np.int64], probabilities: NDArray[np.float32]) -> ClassTable:
    """Which class was taken for which, and how well each is told from the others."""
    found = probabilities.argmax(axis=1)
    every = np.arange(len(labels))
    scores = precision_recall_fscore_support(class_ids, found, labels=every, zero_division=0)
    return ClassTable(
        labels=tuple(labels),
        confusion=tuple(tuple(row) for row in confusion_matrix(class_ids, found, labels=every).tolist()),
        per_class={
            label: ClassScores(
                precision=round(float(precision), DIGITS),
                recall=round(float(recall), DIGITS),
                f1=round(float(f1), DIGITS),
                support=int(support),
            )
            for label, precision, recall, f1, support in zip(labels, *scores, strict=True)
        },
        accuracy=round(float(accuracy_score(class_ids, found)), DIGITS),
    )
