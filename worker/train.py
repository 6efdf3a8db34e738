"""Train a model on your own data: `python -m worker.train classification|detection|masks --data DIR --out DIR`.

The same command goes on with a run that was broken off. What is wrong with the data is said first; `--check` says that
and no more. docs/train-your-own.md tells how data must look and what the options do.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from shared.catalog import load_catalog
from shared.entries import MaskRcnnEntry
from shared.runs import Epoch, TrainingRun
from shared.settings import get_settings
from worker.engines import select_backend_for_training
from worker.engines.threads import available_cpus
from worker.models.errors import ModelFileError
from worker.training.checkpoint import DOCUMENT
from worker.training.classifiers.command import add_options, make_config, table_lines
from worker.training.classifiers.config import ClassificationConfig
from worker.training.config import Augmentation, FindingConfig, RunConfig
from worker.training.darknet.config import DetectionConfig
from worker.training.datasets.check import Checked, DatasetReport, check
from worker.training.datasets.description import Dataset
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.unpack import unpack
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.config import MaskRcnnConfig
from worker.training.mask_rcnn.small import SIDE, first_heads_epochs, renamed, small_entry
from worker.training.runs import find_backbone


def _header(*names: str) -> str:
    return " ".join(f"{name:>9}" for name in ("epoch", *names, "rate")) + f" {'s':>7}"


#: classes and problems that are shown; the report in the run's folder has more
SHOWN: Final = 20
HEADER: Final = _header("loss", "box", "object", "class", "AP", "AP50")
CLASSES_HEADER: Final = _header("loss", "accuracy", "F1")
MASKS_HEADER: Final = _header("loss", "anchors", "corners", "class", "box", "mask", "AP50", "mask AP", "mask AP50")
#: of COCO's figures, those that are shown at the end
_FIGURES: Final = ("AP", "AP50", "AP75")

#: to standard output, each line at once: a run takes hours
_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        run = {"classification": _classification, "detection": _detection, "masks": _masks}[options.kind]
        return run(options)
    except (DatasetError, ModelFileError, TrainingError, ValueError, OSError) as error:
        _say(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Stopped. The same command goes on after the last finished epoch.", file=sys.stderr)
        return 130


def _classification(options: argparse.Namespace) -> int:
    config = make_config(options, _common(options))
    dataset = _checked(options.data, options.out)
    if options.check:
        return 0
    weights = options.weights or find_backbone(config, get_settings())
    select_backend_for_training(options.threads)
    # not before the backend is chosen
    from worker.training.classifiers.fit import train_classifier

    _say(CLASSES_HEADER)
    run = train_classifier(
        options.name,
        dataset,
        options.out,
        config,
        classes=options.classes.split(",") if options.classes else None,
        weights=weights,
        on_epoch=_print_classes_epoch,
    )
    _print_end(run, options.out, "keras, .json", ("accuracy", "f1"))
    for line in table_lines(run.table) if run.table else ():
        _say(line)
    return 0


def _detection(options: argparse.Namespace) -> int:
    config = _config(options)
    dataset = _checked(options.data, options.out)
    also = [_checked(folder, options.out) for folder in options.also]
    return 0 if options.check else _train(options, config, dataset, also)


def _masks(options: argparse.Namespace) -> int:
    config = MaskRcnnConfig(
        heads_epochs=first_heads_epochs(options.epochs, options.weights) if options.heads is None else options.heads,
        freeze_normalisation=options.freeze_normalisation,
        augmentation=MaskRcnnConfig().augmentation.model_copy(update={"paste": options.paste}),
        **_common(options),
    )
    entry = _mask_network(options)
    dataset = _checked(options.data, options.out)
    also = [_checked(folder, options.out) for folder in options.also]
    if options.check:
        return 0
    select_backend_for_training(options.threads)
    # not before the backend is chosen
    from worker.training.mask_rcnn.fit import train_mask_rcnn

    _say(MASKS_HEADER)
    run = train_mask_rcnn(
        entry, dataset, options.out, config, also=also, weights=options.weights, on_epoch=_print_masks_epoch
    )
    _print_end(run, options.out, "h5, .names", (*_FIGURES, *(f"mask_{name}" for name in _FIGURES)))
    return 0


def _mask_network(options: argparse.Namespace) -> MaskRcnnEntry:
    """The small network, or that of a model of the catalogue, under the new name."""
    if options.network == "small":
        return small_entry(options.name, options.size or SIDE)
    settings = get_settings()
    entry = load_catalog(settings.catalog).models.get(options.network)
    if not isinstance(entry, MaskRcnnEntry):
        raise TrainingError(f"the catalogue has no Mask R-CNN {options.network}")
    return renamed(entry, options.name, options.size)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.train", description="Train a model on your own data.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    _add_classification(kinds.add_parser("classification", help="a classifier, from a folder a class or from boxes"))
    _add_detection(kinds.add_parser("detection", help="a detector of the YOLOv3 family"))
    _add_masks(kinds.add_parser("masks", help="a Mask R-CNN: boxes and outlines"))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder or zip file with images and what is in them")
    add("--out", type=Path, required=True, help="folder of the run")
    add("--check", action="store_true", help="only say what is wrong with the data")
    add("--name", default="mine", help="of the model and its files (%(default)s)")
    add("--threads", type=int, default=available_cpus(), help="(%(default)s)")


def _add_run(parser: argparse.ArgumentParser, defaults: RunConfig) -> None:
    """What can be said of any training."""
    add = parser.add_argument
    add("--epochs", type=int, default=defaults.epochs, help="(%(default)s)")
    add("--batch", type=int, default=defaults.batch_size, help="images of a step (%(default)s)")
    add("--seed", type=int, default=defaults.seed, help="of split, first weights and augmentation (%(default)s)")
    add("--val", type=float, default=defaults.val, help="share of training images to choose by (%(default)s)")
    add("--test", type=float, default=defaults.test, help="share of images held out (%(default)s)")
    add("--learning-rate", type=float, default=defaults.learning_rate, help="(%(default)s)")
    add("--precision", default=defaults.precision, help="float32, mixed_float16 or mixed_bfloat16 (%(default)s)")
    add("--validate-every", type=int, default=defaults.validate_every, help="epochs (%(default)s)")
    add("--patience", type=int, help="stop when so many epochs brought nothing better")


def _add_finding(parser: argparse.ArgumentParser, defaults: FindingConfig) -> None:
    """What can be said of the training of any network that finds objects."""
    _add_run(parser, defaults)
    add = parser.add_argument
    add("--also", type=Path, action="append", default=[], help="more data, all of it for training; several times")
    paste = defaults.augmentation.paste
    add("--paste", type=float, default=paste, help="of pasted objects, if there are masks (%(default)s)")


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of `_add_run`."""
    same = ("epochs", "seed", "val", "test", "learning_rate", "precision", "validate_every", "patience")
    return {"batch_size": options.batch, **{name: getattr(options, name) for name in same}}


def _add_classification(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    _add_run(parser, ClassificationConfig())
    add_options(parser)


def _add_masks(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    _add_finding(parser, MaskRcnnConfig())
    add = parser.add_argument
    add("--network", default="small", help="'small', or that of a Mask R-CNN of the catalogue (%(default)s)")
    add("--weights", type=Path, help="to go on from: a Mask R-CNN's .h5, or a detector's .weights; none: from scratch")
    add("--size", type=int, help="side of the square input in pixels, a multiple of 64; none: as the network has it")
    add("--heads", type=int, help="epochs that teach all but the backbone; none: a tenth, if there are --weights")
    add("--freeze-normalisation", action="store_true", help="keep its statistics: for batches of one or two")


def _add_detection(parser: argparse.ArgumentParser) -> None:
    defaults = DetectionConfig()
    _add_common(parser)
    _add_finding(parser, defaults)
    add = parser.add_argument
    add("--cfg", default="small", help="the network: 'small', or a Darknet .cfg (%(default)s)")
    add("--weights", type=Path, help="of that .cfg, to go on from; none: from scratch")
    add("--size", type=int, help="side of the square input in pixels, a multiple of 32; none: as the cfg says")
    add("--box-loss", default=defaults.box_loss, help="'ciou' or 'squared', YOLOv3's own (%(default)s)")
    add("--positive-threshold", type=float, default=defaults.positive_threshold, help="see the guide (%(default)s)")
    mosaic = defaults.augmentation.mosaic
    add("--mosaic", type=float, default=mosaic, help="probability of four images in one (%(default)s)")


def _config(options: argparse.Namespace) -> DetectionConfig:
    return DetectionConfig(
        image_size=(options.size, options.size) if options.size else None,
        box_loss=options.box_loss,
        positive_threshold=options.positive_threshold,
        augmentation=Augmentation(mosaic=options.mosaic, paste=options.paste),
        **_common(options),
    )


def _checked(data: Path, out: Path) -> Dataset:
    """Read and check a data set, unpacked into the run's folder first if it is a zip file; says what is wrong."""
    folder = data
    if data.is_file():
        folder = out / "data" / data.stem
        if not folder.exists():
            unpack(data, folder)
    checked: Checked = check(read_dataset(folder))
    _print_report(data, checked.report)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"report-{data.stem}.json").write_text(checked.report.model_dump_json(indent=2), encoding="utf-8")
    if not checked.report.usable:
        raise DatasetError(f"{data} cannot be trained on")
    return checked.dataset


def _print_report(data: Path, report: DatasetReport) -> None:
    _say(f"{data}: {report.format}, {report.images} images, {report.empty_images} of them without objects")
    there = sorted((count for count in report.classes if count.images), key=lambda count: -count.objects)
    for count in there[:SHOWN]:
        _say(f"  {count.label}: {count.objects} in {count.images} images")
    if len(there) > SHOWN:
        _say(f"  and {len(there) - SHOWN} more classes")
    for problem in report.problems[:SHOWN]:
        _say(f"  {'ERROR' if problem.fatal else 'note'} {problem.file}: {problem.message}")
    if (more := sum(report.problem_counts.values()) - SHOWN) > 0:
        _say(f"  and {more} more: {', '.join(f'{code} {n}' for code, n in report.problem_counts.items())}")


def _train(options: argparse.Namespace, config: DetectionConfig, dataset: Dataset, also: list[Dataset]) -> int:
    select_backend_for_training(options.threads)
    # not before the backend is chosen
    from worker.training.darknet.fit import SMALL_CFG, Start, train_detector

    start = Start(SMALL_CFG if options.cfg == "small" else Path(options.cfg), options.weights)
    _say(HEADER)
    run = train_detector(options.name, dataset, options.out, config, also=also, start=start, on_epoch=_print_epoch)
    _print_end(run, options.out, "cfg, .weights, .names", _FIGURES)
    return 0


def _print_end(run: TrainingRun, out: Path, files: str, figures: Sequence[str]) -> None:
    if run.best is not None:
        _say(f"{run.ending}; the weights of epoch {run.best.epoch} were kept")
    if run.held_out is not None:
        text = ", ".join(f"{name.replace('_', ' ')} {100 * run.held_out[name]:.1f} %" for name in figures)
        _say(f"held out, {len(run.files['test'])} images: {text}")
    _say(f"{out / run.name}.{files}, .toml (entry for the catalogue); {out / DOCUMENT}")


def _print_classes_epoch(epoch: Epoch) -> None:
    _print_row(epoch, ("loss",), ("accuracy", "f1"))


def _print_epoch(epoch: Epoch) -> None:
    _print_row(epoch, ("loss", "box", "objectness", "classes"), ("AP", "AP50"))


def _print_masks_epoch(epoch: Epoch) -> None:
    _print_row(epoch, ("loss", "rpn_class", "rpn_box", "class", "box", "mask"), ("AP50", "mask_AP", "mask_AP50"))


def _print_row(epoch: Epoch, losses: Sequence[str], metrics: Sequence[str]) -> None:
    parts = [f"{epoch.losses[name]:>9.3f}" for name in losses]
    measured = [f"{100 * epoch.metrics[name]:.1f}" if epoch.metrics else "" for name in metrics]
    _say(
        f"{epoch.epoch:>4}/{epoch.epochs:<4} {' '.join(parts)} {' '.join(f'{each:>9}' for each in measured)} "
        f"{epoch.learning_rate:>9.2e} {epoch.seconds:>7.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
