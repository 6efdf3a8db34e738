"""Train a model on your own data: `python -m worker.train detection|masks --data DIR --out DIR`.

The same command goes on with a run that was broken off. What is wrong with the data is said first; `--check` says that
and no more. docs/train-your-own.md tells how data must look and what the options do.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.runs import Epoch
from worker.engines import select_backend
from worker.engines.threads import available_cpus
from worker.models.errors import ModelFileError
from worker.training.darknet.config import Augmentation, DetectionConfig
from worker.training.datasets.check import Checked, DatasetReport, check
from worker.training.datasets.description import Dataset
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.unpack import unpack
from worker.training.errors import TrainingError
from worker.training.mask_rcnn.config import MaskRcnnConfig, Stage

if TYPE_CHECKING:
    from worker.training.mask_rcnn.fit import Progress

#: classes and problems that are shown; the report in the run's folder has more
SHOWN: Final = 20
HEADER: Final = (
    f"{'epoch':>9} {'loss':>9} {'box':>8} {'object':>8} {'class':>8} {'AP':>7} {'AP50':>7} {'rate':>9} {'s':>7}"
)

#: to standard output, each line at once: a run takes hours
_say = partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _masks(options) if options.kind == "masks" else _detection(options)
    except (DatasetError, ModelFileError, TrainingError, ValueError, OSError) as error:
        _say(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Stopped. The same command goes on after the last finished epoch.", file=sys.stderr)
        return 130


def _detection(options: argparse.Namespace) -> int:
    config = _config(options)
    dataset = _checked(options.data, options.out)
    also = [_checked(folder, options.out) for folder in options.also]
    return 0 if options.check else _train(options, config, dataset, also)


def _masks(options: argparse.Namespace) -> int:
    stage = Stage(part="all", epochs=options.epochs, learning_rate=options.learning_rate)
    config = MaskRcnnConfig(stages=(stage,), batch_size=options.batch, seed=options.seed)
    dataset = _checked(options.data, options.out)
    if options.check:
        return 0
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    select_backend("keras", options.threads)
    # not before the backend is chosen
    from worker.training.mask_rcnn.on_dataset import small_entry, train_on_dataset

    entry = small_entry(options.name, options.size)
    train_on_dataset(entry, dataset, options.out, config, held_out=options.test, on_epoch=_print_progress)
    _say(f"{options.out / options.name}.h5, .names, .toml (entry for the catalogue)")
    return 0


def _print_progress(progress: "Progress") -> None:
    losses = ", ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
    _say(f"{progress.epoch:>4}/{progress.epochs:<4} {losses}, {progress.seconds:.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.train", description="Train a model on your own data.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    _add_detection(kinds.add_parser("detection", help="a detector of the YOLOv3 family"))
    _add_masks(kinds.add_parser("masks", help="a small Mask R-CNN, from scratch"))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder or zip file with images and what is in them")
    add("--out", type=Path, required=True, help="folder of the run")
    add("--check", action="store_true", help="only say what is wrong with the data")
    add("--name", default="mine", help="of the model and its files (%(default)s)")
    add("--threads", type=int, default=available_cpus(), help="(%(default)s)")


def _add_masks(parser: argparse.ArgumentParser) -> None:
    defaults = MaskRcnnConfig()
    _add_common(parser)
    add = parser.add_argument
    add("--size", type=int, default=256, help="side of the square input in pixels, a multiple of 64 (%(default)s)")
    add("--epochs", type=int, default=defaults.stages[0].epochs, help="(%(default)s)")
    add("--batch", type=int, default=4, help="images of a step (%(default)s)")
    add("--seed", type=int, default=defaults.seed, help="of split, first weights and augmentation (%(default)s)")
    add("--test", type=float, default=DetectionConfig().test, help="share of images held out (%(default)s)")
    add("--learning-rate", type=float, default=defaults.stages[0].learning_rate, help="(%(default)s)")


def _add_detection(parser: argparse.ArgumentParser) -> None:
    defaults = DetectionConfig()
    augmentation = defaults.augmentation
    _add_common(parser)
    add = parser.add_argument
    add("--also", type=Path, action="append", default=[], help="more data, all of it for training; several times")
    add("--cfg", default="small", help="the network: 'small', or a Darknet .cfg (%(default)s)")
    add("--weights", type=Path, help="of that .cfg, to go on from; none: from scratch")
    add("--size", type=int, help="side of the square input in pixels, a multiple of 32; none: as the cfg says")
    add("--epochs", type=int, default=defaults.epochs, help="(%(default)s)")
    add("--batch", type=int, default=defaults.batch_size, help="images of a step (%(default)s)")
    add("--seed", type=int, default=defaults.seed, help="of split, first weights and augmentation (%(default)s)")
    add("--val", type=float, default=defaults.val, help="share of training images to choose by (%(default)s)")
    add("--test", type=float, default=defaults.test, help="share of images held out (%(default)s)")
    add("--learning-rate", type=float, default=defaults.learning_rate, help="(%(default)s)")
    add("--box-loss", default=defaults.box_loss, help="'ciou' or 'squared', YOLOv3's own (%(default)s)")
    add("--positive-threshold", type=float, default=defaults.positive_threshold, help="see the guide (%(default)s)")
    add("--mosaic", type=float, default=augmentation.mosaic, help="probability of four images in one (%(default)s)")
    add("--paste", type=float, default=augmentation.paste, help="of pasted objects, if there are masks (%(default)s)")
    add("--precision", default=defaults.precision, help="float32, mixed_float16 or mixed_bfloat16 (%(default)s)")
    add("--validate-every", type=int, default=defaults.validate_every, help="epochs (%(default)s)")
    add("--patience", type=int, help="stop when so many epochs brought nothing better")


def _config(options: argparse.Namespace) -> DetectionConfig:
    return DetectionConfig(
        epochs=options.epochs,
        batch_size=options.batch,
        seed=options.seed,
        image_size=(options.size, options.size) if options.size else None,
        val=options.val,
        test=options.test,
        learning_rate=options.learning_rate,
        box_loss=options.box_loss,
        positive_threshold=options.positive_threshold,
        precision=options.precision,
        validate_every=options.validate_every,
        patience=options.patience,
        augmentation=Augmentation(mosaic=options.mosaic, paste=options.paste),
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
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    select_backend("keras", options.threads)
    # not before the backend is chosen
    from worker.training.darknet.fit import DOCUMENT, SMALL_CFG, Start, train_detector

    start = Start(SMALL_CFG if options.cfg == "small" else Path(options.cfg), options.weights)
    _say(HEADER)
    run = train_detector(options.name, dataset, options.out, config, also=also, start=start, on_epoch=_print_epoch)
    if run.best is not None:
        _say(f"{run.ending}; the weights of epoch {run.best.epoch} were kept")
    if run.held_out is not None:
        figures = ", ".join(f"{name} {100 * run.held_out[name]:.1f} %" for name in ("AP", "AP50", "AP75"))
        _say(f"held out, {len(run.files['test'])} images: {figures}")
    _say(f"{options.out / run.name}.cfg, .weights, .names, .toml (entry for the catalogue); {options.out / DOCUMENT}")
    return 0


def _print_epoch(epoch: Epoch) -> None:
    parts = [epoch.losses[name] for name in ("loss", "box", "objectness", "classes")]
    metrics = [f"{100 * epoch.metrics[name]:.1f}" if epoch.metrics else "" for name in ("AP", "AP50")]
    _say(
        f"{epoch.epoch:>4}/{epoch.epochs:<4} {parts[0]:>9.3f} {parts[1]:>8.3f} {parts[2]:>8.3f} {parts[3]:>8.3f} "
        f"{metrics[0]:>7} {metrics[1]:>7} {epoch.learning_rate:>9.2e} {epoch.seconds:>7.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
