"""An image classifier, ready to run."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.entries import ClassifierEntry, Preprocessing
from shared.errors import BadInputError
from shared.jobs import JobOptions
from shared.results import ModelUsed
from shared.settings import Settings
from worker.engines import KerasModel, Recipe, Session, open_session
from worker.models.base import ClassificationModel, Image, Outputs, Prepared, model_used
from worker.models.classifications import Classifications
from worker.models.classifiers.errors import ClassifierError
from worker.models.classifiers.gradcam import Array, channel_weights, heat_map
from worker.models.classifiers.preprocess import prepare
from worker.models.files import checked_sha256, load_labels

#: part of the key of converted models: raise it when the same files give another network
NETWORK_VERSION: Final = 1
#: of the networks of `keras.applications`
IMAGE_SIZE: Final = (224, 224)
PREPROCESSING: Final[dict[str, Preprocessing]] = {"resnet50": "caffe", "mobilenet_v2": "tf", "nasnet_mobile": "tf"}


class ClassifierModel(ClassificationModel):
    """A Keras classifier: a network of `keras.applications`, or a saved model.

    Args:
        entry: which files, and how images are fed.
        labels: a name for each class.
        weights_sha256: of the file of weights.
        recipe: the network, with the outputs of `worker.models.classifiers.networks.Classifier.body`.
        head_recipe: its head, opened when somebody wants an explanation.
        settings: which engine runs them.

    Raises:
        ClassifierError: the network gives another number of classes than there are labels.
    """

    def __init__(
        self,
        entry: ClassifierEntry,
        labels: tuple[str, ...],
        weights_sha256: str,
        recipe: Recipe,
        head_recipe: Recipe,
        settings: Settings,
    ) -> None:
        super().__init__(entry)
        self.input_size = entry.image_size or IMAGE_SIZE
        self._preprocessing = entry.preprocessing or PREPROCESSING[entry.architecture]
        self._labels = labels
        self._weights_sha256 = weights_sha256
        self._settings = settings
        self._session = open_session(recipe, settings)
        self._head_recipe = head_recipe
        self._head: Session | None = None
        found = self._session.run(np.zeros((1, *self.input_size, 3), np.float32))[0].shape[-1]
        if found != len(labels) and not (found == 1 and len(labels) == 2):
            wanted = "2 (a single sigmoid)" if found == 1 else str(found)
            raise ClassifierError(f"{entry.classes.name} names {len(labels)} classes, the network has {wanted}")

    @classmethod
    def load(cls, entry: ClassifierEntry, settings: Settings) -> "ClassifierModel":
        """Read the files of `entry` from the weights folder and make them ready to run.

        Raises:
            ModelFileError: the files are broken or do not belong together.
            OSError: a file cannot be read.
        """
        path = settings.weights_dir / entry.weights.name
        labels = load_labels(settings.weights_dir / entry.classes.name)
        if path.suffix == ".npz":
            if entry.architecture != "mobilenet_v2":
                raise ClassifierError(f"{path.name}: weights in .npz are read for mobilenet_v2 only")
            if labels[:1] == ("background",):  # as TensorFlow's own training counts; no photo is one of it
                labels = labels[1:]
        sha256 = checked_sha256(path, entry.weights)
        image_size = entry.image_size or IMAGE_SIZE

        def build(part: str) -> KerasModel:
            # Keras is imported here alone: with a converted model at hand it is not needed
            from worker.models.classifiers import networks

            if entry.architecture == "saved":
                model = networks.load_saved(path)
            else:
                model = networks.build_application(entry.architecture, path, image_size, len(labels))
            classifier = networks.take_apart(model, image_size, entry.output)
            return classifier.body if part == "body" else classifier.head

        key = ":".join(map(str, (NETWORK_VERSION, entry.architecture, sha256, *image_size, len(labels), entry.output)))
        recipe = Recipe(f"classifier:{key}", lambda: build("body"), outputs=3)
        # exact: differences of two runs that are close to each other
        head = Recipe(f"classifier:{key}:head", lambda: build("head"), outputs=1, batched=True, exact=True)
        return cls(entry, labels, sha256, recipe, head, settings)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of all classes, in the order of their ids."""
        return self._labels

    def info(self) -> ModelUsed:
        """What a result document says of the model."""
        return model_used(self.entry, self._session, self._weights_sha256, self.input_size)

    def preprocess(self, image: Image) -> Prepared:
        """Fill the input with the image, and scale its colours as the model was trained with."""
        return prepare(image, *self.input_size, self._preprocessing)

    def infer(self, prepared: Prepared) -> Outputs:
        """The probabilities (1, classes), or (1, 1) of a single sigmoid, the last feature maps, the head's input."""
        return self._session.run(prepared.batch)

    def understand(
        self,
        outputs: Outputs,
        prepared: Prepared,  # noqa: ARG002
        options: JobOptions,  # noqa: ARG002
    ) -> Classifications:
        """The probability of each class; a single sigmoid is that of the second of two."""
        scores = outputs[0][0]
        if len(scores) == 1:
            scores = np.concatenate([1 - scores, scores])
        return Classifications(np.asarray(scores, np.float32), self._labels)

    def explain(self, outputs: Outputs, prepared: Prepared, class_id: int) -> NDArray[np.float32]:
        """Grad-CAM of the last feature maps, see `worker.models.classifiers.gradcam`.

        Raises:
            BadInputError: "invalid_option": the network has no feature maps that lead to its classes.
        """
        maps, point = outputs[1][0], outputs[2][0]
        if maps.ndim != 3:
            raise BadInputError(
                "invalid_option", f"What {self.entry.name} sees cannot be shown on the photo: it has no feature maps."
            )
        weights = channel_weights(self._logits, point, class_id)
        return heat_map(maps, weights, *prepared.placement.size)

    def _logits(self, points: Array) -> Array:
        if self._head is None:
            self._head = open_session(self._head_recipe, self._settings)
        values = self._head.run(points)[0]
        return np.concatenate([-values, values], axis=1) if values.shape[1] == 1 else values
