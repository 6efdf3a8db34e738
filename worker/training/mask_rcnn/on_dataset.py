"""A training run on a data set with masks. Imports TensorFlow: choose the backend before."""

from collections.abc import Callable
from pathlib import Path

from shared.entries import MaskRcnnEntry
from worker.models.mask_rcnn.plan import Plan
from worker.training.darknet.measuring import write_truth
from worker.training.darknet.source import PictureSource
from worker.training.datasets.description import Dataset
from worker.training.datasets.split import split_samples
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.fit import Progress, train_mask_rcnn


def small_entry(name: str, side: int) -> MaskRcnnEntry:
    """A network with a small backbone, which two cores train in hours, for images scaled to `side` pixels.

    Args:
        name: of the model and its files.
        side: of the square input, a multiple of 64.
    """
    file = {"weights": {"name": f"{name}.h5"}, "classes": {"name": f"{name}.names"}}
    sizes = {"width": 24, "fpn_channels": 64, "rpn_channels": 64, "head_channels": 256, "mask_channels": 64}
    # of a standing person the height is two to three times the width
    anchors = {
        "anchor_scales": [side / 16, side / 8, side / 4, side / 2.5, side / 1.6],
        "anchor_ratios": [0.33, 0.6, 1],
    }
    inputs = {"min_side": side, "max_side": side, "proposals": 100}
    return MaskRcnnEntry.model_validate(
        {"name": name, "title": name, "backbone": "resnet18", **file, **sizes, **anchors, **inputs}
    )


def train_on_dataset(
    entry: MaskRcnnEntry,
    dataset: Dataset,
    folder: Path,
    config: MaskRcnnConfig,
    *,
    held_out: float,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> str:
    """Train on one part of a data set; the other part's boxes are written into `folder`/test for `worker.evaluate`.

    Regions of several objects (COCO's `iscrowd`) are not learnt, and not kept from being background either.

    Args:
        entry: the network, and the names of its files.
        dataset: with masks.
        folder: of the run.
        config: how to train.
        held_out: share of the images that are not trained on; a given split is kept.
        on_epoch: as of `train_mask_rcnn`.

    Returns:
        The entry for the catalogue, as text.

    Raises:
        TrainingError: the data set has no masks, or as of `train_mask_rcnn`.
        DatasetError: an image cannot be read.
    """
    if dataset.kind != "masks":
        raise TrainingError(f"{dataset.root.name} has no masks")
    splits = split_samples(dataset.samples, val=0.0, test=held_out, seed=config.seed)
    if splits.test:
        write_truth(splits.test, dataset.labels, folder / "test")
    canvas = Plan.of(entry, len(dataset.labels)).canvas((1, 1))
    source = PictureSource(splits.train, canvas, with_masks=True)
    return train_mask_rcnn(
        entry, dataset.labels, source, len(splits.train), folder, config, half=True, on_epoch=on_epoch
    )
