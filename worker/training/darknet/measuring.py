"""How good a network in training is: by the code that measures finished models (`worker.evaluate`)."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.entries import DarknetEntry, WeightFile
from worker.engines import KerasModel
from worker.evaluate import evaluate
from worker.models.darknet.detector import DarknetDetector
from worker.models.darknet.plan import Plan


class _NetworkSession:
    """A Keras network as a session of an engine."""

    def __init__(self, network: KerasModel) -> None:
        self.engine: Final[str] = "keras"
        self.precision: Final[str] = "f32"
        self._network = network

    def run(self, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs: Any = self._network.predict_on_batch(*inputs)
        heads = outputs if isinstance(outputs, list | tuple) else [outputs]  # one alone is in no list
        return [np.asarray(head, np.float32) for head in heads]


def measure(network: KerasModel, plan: Plan, labels: tuple[str, ...], folder: Path) -> dict[str, float]:
    """COCO's figures (see `worker.evaluate.METRICS`) of a network on a part that `write_truth` wrote."""
    file = WeightFile(name="training")
    entry = DarknetEntry(name="training", title="training", config=file, weights=file, classes=file)
    model = DarknetDetector(entry, plan, labels, "", _NetworkSession(network))
    return evaluate(model, folder).metrics
