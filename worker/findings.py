"""From what a model predicted to what a result says of it and to the pictures that show it, for each task."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.results import Artifact, Classification, Detection, classified, count_labels, object_string, sentence
from worker.drawing import draw_detections, encode_jpeg, thumbnail
from worker.masks import covered_percent
from worker.models.base import Prediction
from worker.models.classifications import Classifications

#: longest side of the picture in lists
THUMBNAIL_SIDE: Final = 320
JPEG: Final = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Findings:
    """The part of a result document that depends on the task."""

    text: str
    detections: list[Detection] = field(default_factory=list)
    classes: list[Classification] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    object_string: str = ""
    mask_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A file that shows the findings."""

    artifact: Artifact
    data: bytes


def findings_of(prediction: Prediction, size: tuple[int, int], top: int) -> Findings:
    """What the result says.

    Args:
        prediction: of the model.
        size: height and width of the oriented original.
        top: of a classifier, so many classes.
    """
    if isinstance(prediction, Classifications):
        classes = prediction.to_results(top)
        return Findings(text=classified(classes), classes=classes)
    detections = prediction.to_results(size)
    counts = count_labels(detection.label for detection in detections)
    masks = prediction.masks
    return Findings(
        text=sentence(counts),
        detections=detections,
        counts=counts,
        object_string=object_string(counts),
        mask_percent=None if masks is None else round(covered_percent(masks, size), 6),
    )


def draw(pixels: NDArray[np.uint8], findings: Findings) -> list[Picture]:
    """The drawn image in full size, and a small one of it for lists."""
    drawn = draw_detections(pixels, findings.detections)
    return [
        jpeg("annotated.jpg", drawn),
        jpeg("thumbnail.jpg", thumbnail(drawn, max_side=THUMBNAIL_SIDE)),
    ]


def jpeg(name: str, pixels: NDArray[np.uint8]) -> Picture:
    """A picture (RGB) as a JPEG artifact."""
    data = encode_jpeg(pixels)
    height, width = pixels.shape[:2]
    return Picture(Artifact(name=name, content_type=JPEG, bytes=len(data), width=width, height=height), data)
