"""Any kind of training, asked for in one way: a `RunRequest` and a checked data set in, files and a record out.

Imports no Keras before `train` is called. It does not choose the backend: call
`worker.engines.select_backend_for_training` first.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from shared.catalog import load_catalog
from shared.entries import ClassifierEntry, DarknetEntry, MaskRcnnEntry, ModelEntry
from shared.runs import Epoch, RunRequest, TrainingRun
from shared.settings import Settings
from worker.training.checkpoint import CHECKPOINT, DOCUMENT
from worker.training.classifiers.config import ClassificationConfig
from worker.training.darknet.config import DetectionConfig
from worker.training.datasets.description import Dataset
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.small import SIDE, first_heads_epochs, renamed, small_entry

logger = logging.getLogger(__name__)

OnEpoch = Callable[[Epoch], None]

#: fields of a request that the settings of every kind have under the same name
_COMMON: Final = frozenset({"epochs", "batch_size", "seed", "learning_rate", "val", "test", "patience"})
#: endings of the files that a model may have in the folder of its run
_MODEL_FILES: Final = (".cfg", ".weights", ".names", ".h5", ".keras", ".json", ".toml")


def train(
    request: RunRequest, dataset: Dataset, folder: Path, settings: Settings, *, on_epoch: OnEpoch = lambda _: None
) -> TrainingRun:
    """Train a model, or go on with a run that was broken off in `folder`.

    Args:
        request: what to train.
        dataset: as `worker.training.datasets.check.check` leaves it.
        folder: of this run; made if it is not there. At the end it has `training.json` and the model's files with
            `NAME.toml`, its entry for the catalogue, which names them.
        settings: where installed models are.
        on_epoch: told after each epoch, when its checkpoint is safe. What it raises ends the run, which can be resumed.

    Returns:
        The record, as in `training.json`.

    Raises:
        TrainingError: the request does not fit the data or the installed models, the folder has another run, or the
            loss is no number any more.
        DatasetError: nothing to learn from, or an image cannot be read.
        ModelFileError: the weights to go on from cannot be used.
        ValueError: a setting that this kind of training does not take (pydantic's `ValidationError`).
    """
    match request.kind:
        case "classification":
            return _classification(request, dataset, folder, settings, on_epoch)
        case "detection":
            return _detection(request, dataset, folder, settings, on_epoch)
        case "masks":
            return _masks(request, dataset, folder, settings, on_epoch)


def files_to_go_on(folder: Path, name: str) -> list[Path]:
    """The files of a run that it is resumed from, here or, copied into an empty folder, on another machine.

    Copied between two calls of `on_epoch` they belong together only if the run stands still: do it within `on_epoch`.

    Args:
        folder: of the run.
        name: of its model.
    """
    names = [CHECKPOINT, DOCUMENT, *(f"{name}{suffix}" for suffix in _MODEL_FILES)]
    return [folder / each for each in names if (folder / each).is_file()]


def _common(request: RunRequest) -> dict[str, Any]:
    return request.model_dump(include=set(_COMMON), exclude_none=True)


def _square(request: RunRequest) -> tuple[int, int] | None:
    return None if request.size is None else (request.size, request.size)


def _detection(
    request: RunRequest, dataset: Dataset, folder: Path, settings: Settings, on_epoch: OnEpoch
) -> TrainingRun:
    from worker.training.darknet.fit import SMALL_CFG, Start, train_detector

    if dataset.kind == "classification":
        raise TrainingError(f"{dataset.root.name} has no boxes")
    config = DetectionConfig(image_size=_square(request), **_common(request))
    start = Start(SMALL_CFG)
    if request.start is not None:
        entry = _installed(request.start, settings)
        if not isinstance(entry, DarknetEntry):
            raise TrainingError(f"{request.start} is no detector of the YOLOv3 family")
        start = Start(settings.weights_dir / entry.config.name, settings.weights_dir / entry.weights.name)
    return train_detector(request.name, dataset, folder, config, start=start, on_epoch=on_epoch)


def _installed(name: str, settings: Settings) -> ModelEntry:
    catalog = load_catalog(settings.catalog)
    if name not in catalog.installed(settings.weights_dir):
        raise TrainingError(f"no model {name!r} is installed")
    return catalog.models[name]


def _classification(
    request: RunRequest, dataset: Dataset, folder: Path, settings: Settings, on_epoch: OnEpoch
) -> TrainingRun:
    from worker.training.classifiers.fit import train_classifier

    changes = {"image_size": _square(request), "backbone": request.backbone}
    given = {name: value for name, value in changes.items() if value is not None}
    config = ClassificationConfig(**given, **_common(request))
    return train_classifier(
        request.name,
        dataset,
        folder,
        config,
        classes=request.classes,
        weights=find_backbone(config, settings, request.start),
        on_epoch=on_epoch,
    )


def find_backbone(config: ClassificationConfig, settings: Settings, name: str | None = None) -> Path | None:
    """The weights of a backbone among the installed models; None, with a warning: there are none.

    Args:
        config: says which backbone.
        settings: where installed models are.
        name: of the model whose weights to take; None: the first in the catalogue.

    Raises:
        TrainingError: the named model is not installed, or is another network.
    """
    catalog = load_catalog(settings.catalog)
    for each in [_installed(name, settings)] if name else [*catalog.models.values()]:
        fits = isinstance(each, ClassifierEntry) and each.architecture == config.backbone
        path = settings.weights_dir / each.weights.name
        if fits and each.weights not in each.missing_files(settings.weights_dir):
            return path
        if name:
            raise TrainingError(f"{name} is no {config.backbone}")
    logger.warning(
        "no weights of %s are installed: from scratch, which needs many more pictures "
        "(`make weights MODEL=%s` fetches them)",
        config.backbone,
        config.backbone,
    )
    return None


def _masks(request: RunRequest, dataset: Dataset, folder: Path, settings: Settings, on_epoch: OnEpoch) -> TrainingRun:
    from worker.training.mask_rcnn.fit import train_mask_rcnn

    entry, weights = small_entry(request.name, request.size or SIDE), None
    if request.start is not None:
        begun = _installed(request.start, settings)
        weights = settings.weights_dir / begun.weights.name
        if isinstance(begun, MaskRcnnEntry):
            entry = renamed(begun, request.name, request.size)
        elif not isinstance(begun, DarknetEntry):
            raise TrainingError(f"{request.start} has no weights for a Mask R-CNN")
    config = MaskRcnnConfig(**_common(request))
    heads = first_heads_epochs(config.epochs, weights)
    config = config.model_copy(update={"heads_epochs": heads})
    return train_mask_rcnn(entry, dataset, folder, config, weights=weights, on_epoch=on_epoch)
