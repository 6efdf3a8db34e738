"""A Mask R-CNN, ready to run."""

import functools
from pathlib import Path
from typing import Final

import numpy as np

from shared.entries import MaskRcnnEntry
from shared.results import ModelUsed
from shared.settings import Settings
from worker.engines import KerasModel, Recipe, Session, open_session
from worker.models.base import DetectionModel, Image, Outputs, Prepared, model_used
from worker.models.detections import Detections
from worker.models.files import checked_sha256, load_labels
from worker.models.mask_rcnn.boxes import areas, clip
from worker.models.mask_rcnn.paste import paste_masks
from worker.models.mask_rcnn.plan import POOLED_LEVELS, LayerWeights, Plan, Size
from worker.models.mask_rcnn.preprocess import bounds_of, prepare
from worker.models.mask_rcnn.selection import select
from worker.models.mask_rcnn.stages import Stages
from worker.models.mask_rcnn.weights_detectron2 import read_detectron2
from worker.models.mask_rcnn.weights_matterport import read_matterport

#: part of the key of converted models: raise it when the same files give another network
NETWORK_VERSION: Final = 1


class MaskRcnn(DetectionModel):
    """A model made of a weight file and a list of class names.

    Args:
        entry: which files, and how images are fed.
        plan: the network.
        labels: a name for each class, without the background.
        weights_sha256: of the weight file.
        stages: the network, ready to run.
        session: one of its parts, to say what runs it.
    """

    def __init__(
        self,
        entry: MaskRcnnEntry,
        plan: Plan,
        labels: tuple[str, ...],
        weights_sha256: str,
        stages: Stages,
        session: Session,
    ) -> None:
        super().__init__(entry)
        self._plan = plan
        self._labels = labels
        self._weights_sha256 = weights_sha256
        self._stages = stages
        self._session = session

    @classmethod
    def load(cls, entry: MaskRcnnEntry, settings: Settings) -> "MaskRcnn":
        """Read the files of `entry` from the weights folder and make them ready to run.

        Raises:
            ModelFileError: the files are broken or do not belong together.
            OSError: a file cannot be read.
        """
        path = settings.weights_dir / entry.weights.name
        labels = load_labels(settings.weights_dir / entry.classes.name)
        plan = Plan.of(entry, len(labels))
        weights_sha256 = checked_sha256(path, entry.weights)

        @functools.cache
        def weights() -> LayerWeights:
            return read_weights(path, plan)

        # Keras is imported in these alone: with converted models at hand it is not needed
        def build_trunk(size: Size) -> KerasModel:
            from worker.models.mask_rcnn.trunk import build_trunk

            return build_trunk(plan, size, weights())

        def build_box_head() -> KerasModel:
            from worker.models.mask_rcnn.heads import build_box_head

            return build_box_head(plan, weights())

        def build_mask_head() -> KerasModel:
            from worker.models.mask_rcnn.heads import build_mask_head

            return build_mask_head(plan, weights())

        key = f"mask_rcnn:{NETWORK_VERSION}:{weights_sha256}:{plan.digest}"

        def open_trunk(size: Size) -> Session:
            build = functools.partial(build_trunk, size)
            name = f"{key}:trunk:{size[0]}x{size[1]}"
            session = open_session(Recipe(name, build, outputs=POOLED_LEVELS + 2, kept=POOLED_LEVELS), settings)
            weights.cache_clear()  # up to a quarter of a gigabyte, which is not needed until another size comes
            return session

        box_head = open_session(Recipe(f"{key}:box_head", build_box_head, outputs=2, batched=True), settings)
        mask_head = open_session(Recipe(f"{key}:mask_head", build_mask_head, outputs=1, batched=True), settings)
        stages = Stages(plan, open_trunk, box_head, mask_head)
        session, _ = stages.trunk(plan.canvas((1, 1)))
        return cls(entry, plan, labels, weights_sha256, stages, session)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all classes, in the order of their ids; the background has none."""
        return self._labels

    def info(self) -> ModelUsed:
        """What a result document says of the model."""
        return model_used(self.entry, self._session, self._weights_sha256, self._plan.canvas((1, 1)))

    def preprocess(self, image: Image) -> Prepared:
        """Scale and pad, as those did who trained the network."""
        return prepare(self._plan, image)

    def infer(self, prepared: Prepared) -> Outputs:
        """Find regions and say what they are.

        Returns:
            P2 to P5 of the feature pyramid, which may have stayed on a GPU (`FeatureMap`), then of the regions the
            boxes (N, 4), the logits (N, classes) and the deltas (N, classes, 4).
        """
        found = self._stages.find(prepared.batch, [bounds_of(self._plan, prepared.placement)])
        return [*found.maps, found.boxes, found.logits, found.deltas]

    def postprocess(
        self, outputs: Outputs, prepared: Prepared, *, score: float, iou: float, max_detections: int
    ) -> Detections:
        """Choose the objects and outline them.

        The mask head runs here: it looks at the objects that are left, at their corrected boxes.
        """
        *maps, regions, logits, deltas = outputs
        placement = prepared.placement
        bounds = bounds_of(self._plan, placement)
        found = select(self._plan, regions, logits, deltas, bounds, score=score, iou=iou, limit=max_detections)
        height, width = placement.size
        edge = np.asarray([0, 0, self._plan.far_edge, self._plan.far_edge], np.float32)
        boxes = clip(placement.to_original(found.boxes + edge), np.asarray([0, 0, width, height], np.float32))
        # what was a sliver in the input may be nothing in the photo
        there = areas(boxes) > 0
        boxes, scores, classes = boxes[there], found.scores[there], found.classes[there]
        if not len(boxes):
            return Detections(boxes, scores, classes, self._labels, ())
        canvas = (prepared.batch.shape[1], prepared.batch.shape[2])
        images = np.zeros(len(boxes), np.int64)
        masks = self._stages.outline(canvas, maps, found.boxes[there], images, classes)
        return Detections(boxes, scores, classes - 1, self._labels, paste_masks(masks, boxes, placement.size))


def read_weights(path: Path, plan: Plan) -> LayerWeights:
    """The weights in a file of the plan's layout. Raises as its reader does."""
    return read_detectron2(path, plan) if plan.layout == "detectron2" else read_matterport(path, plan)
