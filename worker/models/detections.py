"""What a detector found in one image, as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.results import Detection
from worker.masks import InstanceMask


@dataclass(frozen=True, slots=True)
class Detections:
    """Objects found in one image, the best first.

    Args:
        boxes: float32 (N, 4): left, top, right, bottom in pixels of the oriented original, within the image.
        scores: float32 (N,), from 0 to 1, falling.
        class_ids: int64 (N,), indices into `labels`.
        labels: the names of all classes of the model.
        masks: the pixels of each object, if the model outlines objects.

    Raises:
        ValueError: the arrays do not have these shapes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    masks: tuple[InstanceMask, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,) or self.class_ids.shape != (count,):
            raise ValueError(
                f"boxes {self.boxes.shape}, scores {self.scores.shape} and class_ids {self.class_ids.shape} "
                "are not of (N, 4), (N,) and (N,)"
            )
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"{len(self.masks)} masks for {count} objects")

    @classmethod
    def empty(cls, labels: tuple[str, ...]) -> "Detections":
        """Nothing found."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), labels)

    @classmethod
    def within(
        cls,
        size: tuple[int, int],
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        labels: tuple[str, ...],
    ) -> "Detections":
        """Clip boxes to an image of `size` (height, width), drop those outside it, put the best first."""
        height, width = size
        clipped = boxes.clip(0, np.asarray([width, height, width, height], np.float32))
        inside = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        order = np.argsort(-scores[inside], kind="stable")
        return cls(clipped[inside][order], scores[inside][order], class_ids[inside][order], labels)

    def __len__(self) -> int:
        return len(self.scores)

    def to_results(self, size: tuple[int, int]) -> list[Detection]:
        """The detections of a result document: boxes to 2 decimals, scores and percentages to 6.

        Args:
            size: height and width of the oriented original.
        """
        masks = self.masks if self.masks is not None else [None] * len(self)
        return [
            Detection(
                label=self.labels[class_id],
                class_id=class_id,
                score=round(min(max(score, 0.0), 1.0), 6),
                box=(round(left, 2), round(top, 2), round(right, 2), round(bottom, 2)),
                mask=mask.to_rle(size) if mask is not None else None,
                mask_percent=round(100 * mask.area / (size[0] * size[1]), 6) if mask is not None else None,
            )
            for (left, top, right, bottom), score, class_id, mask in zip(
                self.boxes.tolist(), self.scores.tolist(), self.class_ids.tolist(), masks, strict=True
            )
        ]
