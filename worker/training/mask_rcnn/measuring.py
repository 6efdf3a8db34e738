"""How good a network in training is: by the code that measures finished models (`worker.evaluate`)."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry
from worker.engines import KerasModel
from worker.evaluate import evaluate
from worker.models.mask_rcnn.model import MaskRcnn
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.stages import Stages


class _PartSession:
    """One of the three networks as a session of an engine."""

    def __init__(self, part: KerasModel) -> None:
        self.engine: Final[str] = "keras"
        self.precision: Final[str] = "f32"
        self._part = part

    def run(self, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        # as many regions as there are: `predict` would make a graph for each number
        outputs: Any = self._part(*inputs, training=False)
        return [np.asarray(output, np.float32) for output in (outputs if isinstance(outputs, list) else [outputs])]


def measure(
    parts: tuple[KerasModel, KerasModel, KerasModel], entry: MaskRcnnEntry, labels: tuple[str, ...], folder: Path
) -> dict[str, float]:
    """COCO's figures of boxes and masks (see `worker.evaluate`) on a part of the data that `write_truth` wrote.

    Args:
        parts: trunk, box head and mask head.
        entry: the network.
        labels: the class names.
        folder: with the truth.
    """
    plan = Plan.of(entry, len(labels))
    trunk, box_head, mask_head = (_PartSession(part) for part in parts)
    stages = Stages(plan, lambda _: trunk, box_head, mask_head)
    return evaluate(MaskRcnn(entry, plan, labels, "", stages, trunk), folder).metrics
