"""What the pipeline knows of a model: three phases, each of which it times.

prepared = model.preprocess(image)
outputs = model.infer(prepared)
prediction = model.understand(outputs, prepared, options)
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.entries import ModelEntry
from shared.jobs import JobOptions
from shared.results import ModelUsed
from worker.engines.base import Session
from worker.models.classifications import Classifications
from worker.models.detections import Detections

Image = NDArray[np.uint8]
Outputs = Sequence[NDArray[np.float32]]
Prediction: TypeAlias = Detections | Classifications


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the original lies in the network's input.

    Args:
        size: height and width of the original in pixels.
        left: where in the input its left edge is, in input pixels.
        top: and its upper edge.
        width: its width there, in input pixels.
        height: and its height.
    """

    size: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    def to_original(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) of left, top, right, bottom in input pixels, to pixels of the original."""
        height, width = self.size
        offset = np.asarray([self.left, self.top] * 2, np.float32)
        scale = np.asarray([width / self.width, height / self.height] * 2, np.float32)
        return np.asarray((boxes - offset) * scale, np.float32)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as the network takes it.

    Args:
        batch: float32 (1, height, width, 3), scaled as the model family wants it.
        placement: the way back to the original's pixels.
    """

    batch: NDArray[np.float32]
    placement: Placement


class Model(ABC):
    """A loaded model. No method but `infer` changes anything, and none is for several threads at once."""

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """The names of all classes, in the order of their ids."""

    @abstractmethod
    def info(self) -> ModelUsed:
        """What a result document says of the model."""

    @abstractmethod
    def preprocess(self, image: Image) -> Prepared:
        """From an image, uint8 RGB (height, width, 3), oriented, of at least one pixel, to the network's input."""

    @abstractmethod
    def infer(self, prepared: Prepared) -> Outputs:
        """Run the network: its raw outputs."""

    @abstractmethod
    def understand(self, outputs: Outputs, prepared: Prepared, options: JobOptions) -> Prediction:
        """What the network's outputs mean, as the sender of a job wants it filtered."""

    def warm_up(self) -> None:
        """Run once on an empty image, so that the first photo is as fast as the others."""
        prepared = self.preprocess(np.zeros((64, 64, 3), np.uint8))
        self.understand(self.infer(prepared), prepared, JobOptions())


def model_used(entry: ModelEntry, session: Session, weights_sha256: str, input_size: tuple[int, int]) -> ModelUsed:
    """What a result document says of a model.

    Args:
        entry: its entry in the catalogue.
        session: what runs its network.
        weights_sha256: of its file of weights.
        input_size: height and width of the network's input.
    """
    return ModelUsed(
        name=entry.name,
        family=entry.family,
        engine=session.engine,
        precision=session.precision,
        weights_sha256=weights_sha256,
        input_size=input_size,
    )


class DetectionModel(Model):
    """A model that finds objects: boxes, and masks if it is one that outlines them."""

    def understand(self, outputs: Outputs, prepared: Prepared, options: JobOptions) -> Detections:
        """As `postprocess`."""
        return self.postprocess(
            outputs, prepared, score=options.score, iou=options.iou, max_detections=options.max_detections
        )

    @abstractmethod
    def postprocess(
        self, outputs: Outputs, prepared: Prepared, *, score: float, iou: float, max_detections: int
    ) -> Detections:
        """Understand the network's outputs.

        Args:
            outputs: what `infer` returned.
            prepared: what it was given.
            score: only objects whose score is higher.
            iou: of two boxes of one class that overlap by more than this, only the better is kept.
            max_detections: how many at most, the best ones.
        """

    def detect(self, image: Image, *, score: float = 0.25, iou: float = 0.45, max_detections: int = 100) -> Detections:
        """All three phases in one, for whoever does not time them."""
        prepared = self.preprocess(image)
        return self.postprocess(self.infer(prepared), prepared, score=score, iou=iou, max_detections=max_detections)


class ClassificationModel(Model):
    """A model that says what a picture shows as a whole."""

    @abstractmethod
    def understand(self, outputs: Outputs, prepared: Prepared, options: JobOptions) -> Classifications:
        """The probabilities of all classes; `options.top` counts when they are written down."""

    @abstractmethod
    def explain(self, outputs: Outputs, prepared: Prepared, class_id: int) -> NDArray[np.float32]:
        """Where in the image the evidence for a class lies (Grad-CAM).

        Args:
            outputs: what `infer` returned.
            prepared: what it was given.
            class_id: the class in question.

        Returns:
            float32 (height, width) of the original's size, from 0 to 1; all 0 where nothing speaks for the class.
        """

    def classify(self, image: Image) -> Classifications:
        """All phases in one."""
        prepared = self.preprocess(image)
        return self.understand(self.infer(prepared), prepared, JobOptions())
