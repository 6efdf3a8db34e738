"""What a data set is once it was read, whatever format it came in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Kind = Literal["classification", "detection", "masks"]
Split = Literal["train", "val", "test"]

#: reads the masks of an image: bool (N, height, width), one an object, in the order of its boxes
MaskReader: TypeAlias = Callable[[], NDArray[np.bool_]]

#: so that a broken annotation cannot ask for more memory than there is
MAX_SIDE: Final = 16_384


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a data set.

    Args:
        code: short and stable, for programs: "image_missing", "box_empty" ...
        file: which, relative to the data set's folder.
        message: a sentence for a person.
        fatal: whether nothing can be trained before it is put right; else the object or image is left out.
    """

    code: str
    file: str
    message: str
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and what is on it.

    Args:
        path: of the image file.
        size: its height and width in pixels as the annotation says, None if it does not.
        boxes: float32 (N, 4): left, top, right, bottom in pixels, as written, not clipped. Of a classification
            data set (0, 4).
        class_ids: int64 (N,), indices into the data set's labels; of a classification data set one.
        crowd: bool (N,): regions that hold several objects (COCO's `iscrowd`) or are not asked for (VOC's
            `difficult`): neither learnt, nor counted for or against a detector.
        masks: reads the masks, if there are any.
        split: which part of the data it belongs to, where the data set says so.
    """

    path: Path
    size: tuple[int, int] | None
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    masks: MaskReader | None = None
    split: Split | None = None

    def __post_init__(self) -> None:
        count = len(self.class_ids)
        if self.crowd.shape != (count,) or self.boxes.shape not in {(count, 4), (0, 4)}:
            raise ValueError(f"boxes {self.boxes.shape}, class_ids ({count},) and crowd {self.crowd.shape} differ")


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set in memory: descriptions only, no pixels.

    Args:
        root: its folder.
        kind: what can be learnt from it.
        format: which format it was read from, for people: "Pascal VOC".
        labels: the class names in the order of their ids.
        samples: sorted by path.
        problems: what the reader met; `check` finds more.
    """

    root: Path
    kind: Kind
    format: str
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = field(default=())


def make_sample(
    path: Path,
    size: tuple[int, int] | None,
    boxes: list[tuple[float, float, float, float]],
    class_ids: list[int],
    crowd: list[bool] | None = None,
    *,
    masks: MaskReader | None = None,
    split: Split | None = None,
) -> Sample:
    """A `Sample` from plain lists; no `crowd`: none is one."""
    return Sample(
        path=path,
        size=size,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        class_ids=np.asarray(class_ids, np.int64),
        crowd=np.asarray(crowd if crowd is not None else [False] * len(class_ids), np.bool_),
        masks=masks if class_ids else None,
        split=split,
    )
