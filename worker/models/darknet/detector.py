"""A detector of the YOLOv3 family, ready to run."""

from typing import Final

from shared.entries import DarknetEntry
from shared.results import ModelUsed
from shared.settings import Settings
from worker.engines import KerasModel, Recipe, Session, open_session
from worker.models.base import DetectionModel, Image, Outputs, Prepared, model_used
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.decode import decode, suppress
from worker.models.darknet.errors import DarknetError
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.preprocess import prepare
from worker.models.darknet.weights import read_weights
from worker.models.detections import Detections
from worker.models.files import checked_sha256, file_sha256, load_labels

#: part of the key of converted models: raise it when the same files give another network
NETWORK_VERSION: Final = 1


class DarknetDetector(DetectionModel):
    """A model made of a `.cfg`, a `.weights` file and a list of class names.

    Args:
        entry: which files, and how images are fed.
        plan: the network.
        labels: a name for each class.
        weights_sha256: of the `.weights` file.
        session: what runs the network.
    """

    def __init__(
        self, entry: DarknetEntry, plan: Plan, labels: tuple[str, ...], weights_sha256: str, session: Session
    ) -> None:
        super().__init__(entry)
        self._resize = entry.resize
        self._plan = plan
        self._labels = labels
        self._weights_sha256 = weights_sha256
        self._session = session
        self._heads = [head for head, _ in plan.heads]

    @classmethod
    def load(cls, entry: DarknetEntry, settings: Settings) -> "DarknetDetector":
        """Read the files of `entry` from the weights folder and make them ready to run.

        Raises:
            ModelFileError: the files are broken or do not belong together.
            OSError: a file cannot be read.
        """
        folder = settings.weights_dir
        cfg_path, weights_path = folder / entry.config.name, folder / entry.weights.name
        plan = make_plan(load_cfg(cfg_path), entry.image_size)
        labels = load_labels(folder / entry.classes.name)
        if len(labels) != plan.classes:
            raise DarknetError(f"{entry.classes.name} names {len(labels)} classes, the network has {plan.classes}")
        weights_sha256 = checked_sha256(weights_path, entry.weights)

        def build() -> KerasModel:
            # Keras is imported here alone: with a converted model at hand it is not needed
            from worker.models.darknet.network import build_network

            return build_network(plan, read_weights(weights_path, plan))

        key = (NETWORK_VERSION, file_sha256(cfg_path), weights_sha256, plan.input.height, plan.input.width)
        recipe = Recipe(f"darknet:{':'.join(map(str, key))}", build, outputs=len(plan.heads))
        return cls(entry, plan, labels, weights_sha256, open_session(recipe, settings))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all classes, in the order of their ids."""
        return self._labels

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self._plan.input.height, self._plan.input.width

    def info(self) -> ModelUsed:
        """What a result document says of the model."""
        return model_used(self.entry, self._session, self._weights_sha256, self.input_size)

    def preprocess(self, image: Image) -> Prepared:
        """Stretch or letterbox, as the entry says."""
        return prepare(image, *self.input_size, self._resize)

    def infer(self, prepared: Prepared) -> Outputs:
        """The raw output of each head: float32 (1, rows, columns, anchors * (5 + classes))."""
        return self._session.run(prepared.batch)

    def postprocess(
        self, outputs: Outputs, prepared: Prepared, *, score: float, iou: float, max_detections: int
    ) -> Detections:
        """Decode the heads, suppress duplicates, and go back to the pixels of the original."""
        candidates = decode(outputs, self._heads, self.input_size, score)
        kept = suppress(candidates, score=score, iou=iou, max_detections=max_detections)
        placement = prepared.placement
        boxes = placement.to_original(kept.boxes)
        return Detections.within(placement.size, boxes, kept.scores, kept.class_ids, self._labels)
