"""From what a model predicted to what a result says of it and to the pictures that show it, for each task."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInputError
from shared.jobs import JobOptions
from shared.results import Artifact, Classification, Detection, classified, count_labels, object_string, sentence
from worker.captions import draw_caption
from worker.drawing import draw_detections, encode_jpeg, thumbnail
from worker.heatmaps import draw_heat
from worker.mask_files import mask_files
from worker.masks import covered_percent
from worker.models.base import ClassificationModel, Model, Outputs, Prediction, Prepared
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
    explained: Classification | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the evidence for a class lies.

    Args:
        class_id: of the class.
        heat: float32 (height, width) of the oriented original, from 0 to 1.
    """

    class_id: int
    heat: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class File:
    """A file that shows the findings."""

    artifact: Artifact
    data: bytes


def explain(
    model: Model, outputs: Outputs, prepared: Prepared, prediction: Prediction, options: JobOptions
) -> Explanation | None:
    """Explain what a classifier predicted, if that is wanted.

    Args:
        model: what predicted.
        outputs: what its `infer` returned.
        prepared: what it was given.
        prediction: what its `understand` made of it.
        options: `explain` and `explain_class` of them: a label, or nothing for the best class.

    Raises:
        BadInputError: "invalid_option": there is no such class, or the model cannot be explained.
    """
    if not (options.explain and isinstance(model, ClassificationModel) and isinstance(prediction, Classifications)):
        return None
    class_id = prediction.best(1)[0]
    if options.explain_class:
        class_id = _class_called(options.explain_class, prediction)
    return Explanation(class_id, model.explain(outputs, prepared, class_id))


def _class_called(name: str, prediction: Classifications) -> int:
    """The id of a class by its label; capitals and underscores do not matter where no label is exactly that.

    ImageNet has two cranes: of several classes the most probable one is meant, which is the one that a result names.
    """

    def plain(label: str) -> str:
        return " ".join(label.replace("_", " ").casefold().split())

    labels = list(enumerate(prediction.labels))
    exact = [class_id for class_id, label in labels if label == name]
    found = exact or [class_id for class_id, label in labels if plain(label) == plain(name)]
    if not found:
        raise BadInputError("invalid_option", f"explain_class: this model has no class called {name!r}.")
    return max(found, key=lambda class_id: float(prediction.scores[class_id]))


def findings_of(
    prediction: Prediction, size: tuple[int, int], top: int, explanation: Explanation | None = None
) -> Findings:
    """What the result says.

    Args:
        prediction: of the model.
        size: height and width of the oriented original.
        top: of a classifier, so many classes.
        explanation: of one of them.
    """
    if isinstance(prediction, Classifications):
        classes = prediction.to_results(top)
        explained = None if explanation is None else prediction.to_result(explanation.class_id)
        return Findings(text=classified(classes), classes=classes, explained=explained)
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


def draw(
    pixels: NDArray[np.uint8],
    findings: Findings,
    prediction: Prediction,
    explanation: Explanation | None = None,
    filename: str = "",
) -> list[File]:
    """The files of a result: the drawn image in full size, a small one of it for lists, and what the task adds.

    Args:
        pixels: the oriented original, RGB.
        findings: what the result says.
        prediction: what it was made from; its masks become files, too.
        explanation: of a classifier, to be shown as a heat map.
        filename: of the original, for COCO's JSON.
    """
    masks = None
    if isinstance(prediction, Classifications):
        drawn = draw_caption(pixels, findings.classes)
    else:
        masks = prediction.masks
        drawn = draw_detections(pixels, findings.detections, masks)
    files = [jpeg("annotated.jpg", drawn), jpeg("thumbnail.jpg", thumbnail(drawn, max_side=THUMBNAIL_SIDE))]
    if explanation is not None:
        files.append(jpeg("heatmap.jpg", draw_heat(pixels, explanation.heat)))
    if masks is not None:
        height, width = pixels.shape[:2]
        contents = mask_files(masks, findings.detections, (height, width), filename)
        files += [File(artifact, data) for artifact, data in contents]
    return files


def jpeg(name: str, pixels: NDArray[np.uint8]) -> File:
    """A picture (RGB) as a JPEG artifact."""
    data = encode_jpeg(pixels)
    height, width = pixels.shape[:2]
    return File(Artifact(name=name, content_type=JPEG, bytes=len(data), width=width, height=height), data)
