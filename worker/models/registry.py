"""The models in a worker's memory."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from shared.catalog import Catalog
from shared.entries import AnyEntry, ClassifierEntry, DarknetEntry, MaskRcnnEntry
from shared.errors import BadInputError, PublicError
from shared.settings import Settings
from shared.storage import MissingObjectError
from shared.trained import TrainedModels
from worker.models.base import Model
from worker.models.errors import ModelFileError

logger = logging.getLogger(__name__)


def load_model(entry: AnyEntry, settings: Settings) -> Model:
    """Load a model from its files.

    Raises:
        BadInputError: "model_not_installed": files are missing.
        PublicError: "model_broken": the files cannot be used. What is wrong with them is logged.
    """
    _check_installed(entry, settings)
    try:
        return _load(entry, settings)
    except (ModelFileError, OSError, NotImplementedError) as error:
        # not implemented: Keras says so where a saved network has an operation that the engine lacks
        logger.exception("model %s cannot be loaded", entry.name)
        detail = f": {error}" if not isinstance(error, OSError) else "."
        raise PublicError("model_broken", f"The files of the model {entry.name} cannot be used{detail}") from error


def _check_installed(entry: AnyEntry, settings: Settings) -> None:
    if missing := entry.missing_files(settings.weights_dir):
        logger.warning("model %s: not in %s: %s", entry.name, settings.weights_dir, [file.name for file in missing])
        raise BadInputError(
            "model_not_installed",
            f"The model {entry.name} is not installed here. Whoever runs this service can install it with "
            f"`make weights MODEL={entry.name}`.",
        )


def _load(entry: AnyEntry, settings: Settings) -> Model:
    # imported when it is needed: a worker for one family does without what the others bring along
    if isinstance(entry, DarknetEntry):
        from worker.models.darknet.detector import DarknetDetector

        return DarknetDetector.load(entry, settings)
    if isinstance(entry, MaskRcnnEntry):
        from worker.models.mask_rcnn.model import MaskRcnn

        return MaskRcnn.load(entry, settings)
    if isinstance(entry, ClassifierEntry):
        from worker.models.classifiers.model import ClassifierModel

        return ClassifierModel.load(entry, settings)
    raise ModelFileError(f"the family {entry.family} is not known here")


class ModelCache:
    """Loads models when they are first asked for and keeps those used last.

    Args:
        catalog: gives the models there are now; a person may add one, or other files, while the worker runs.
        settings: `max_resident_models` of them stay in memory.
        trained: where the files are of those that were trained here.
    """

    def __init__(
        self, catalog: Callable[[], Catalog], settings: Settings, trained: TrainedModels | None = None
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._trained = trained
        self._models: OrderedDict[str, tuple[str, Model]] = OrderedDict()

    def get(self, name: str, loading: Callable[[], AbstractContextManager[None]] = nullcontext) -> Model:
        """The model called `name`, loaded and warm.

        Args:
            name: in the catalogue.
            loading: what is to be around the loading, if the model is not in memory.

        Raises:
            BadInputError: "unknown_model" or "model_not_installed".
            PublicError: "model_broken".
        """
        catalog = self._catalog()
        entry = catalog[name]
        fingerprint = entry.fingerprint(self._settings.weights_dir)
        if name in self._models:
            known, model = self._models[name]
            if known == fingerprint:
                self._models.move_to_end(name)
                return model
            logger.info("model %s has changed", name)
            del self._models[name], model
        with loading():
            model = self._load(entry, trained=name in catalog.trained)
        self._models[name] = (fingerprint, model)
        return model

    def _load(self, entry: AnyEntry, *, trained: bool) -> Model:
        settings = self._fetched(entry.name) if trained else self._settings
        _check_installed(entry, settings)  # before another model leaves for it in vain
        # make room first: two large models at once may be more than there is memory
        while len(self._models) >= self._settings.max_resident_models:
            evicted = next(iter(self._models))
            del self._models[evicted]  # no name here may hold it while the next one is loaded
            logger.info("model %s leaves the memory for %s", evicted, entry.name)
        model = load_model(entry, settings)
        model.warm_up()
        return model

    def _fetched(self, name: str) -> Settings:
        """The settings with the folder of a model that was trained here, once its files are there."""
        model = self._trained.read().get(name) if self._trained is not None else None
        try:
            if self._trained is None or model is None:
                raise MissingObjectError(name)
            folder = self._trained.fetch(model, self._settings)
        except MissingObjectError:
            raise BadInputError("model_not_installed", f"The model {name} was deleted.") from None
        except OSError as error:
            logger.exception("model %s cannot be copied from storage", name)
            raise PublicError("model_broken", f"The files of the model {name} cannot be copied.") from error
        return self._settings.model_copy(update={"weights_dir": folder})

    @property
    def arithmetic(self) -> dict[str, str]:
        """What each of the models in memory computes in (`shared.results.ModelUsed.arithmetic`)."""
        return {name: model.info().arithmetic for name, (_, model) in self._models.items()}

    @property
    def resident(self) -> tuple[str, ...]:
        """The names of the models in memory, the one used last at the end."""
        return tuple(self._models)
