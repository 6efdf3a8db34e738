"""The words of `python -m worker.train classification`: its options, and what it prints."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from shared.runs import Backbone, ClassTable, Epoch
from worker.training.classifiers.config import ClassificationConfig, PhotoAugmentation

HEADER: Final = f"{'epoch':>9} {'loss':>9} {'accuracy':>9} {'F1':>7} {'val loss':>9} {'rate':>9} {'s':>7}"
#: classes whose confusion is printed; `training.json` has all
SHOWN: Final = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those of every kind of training."""
    defaults = ClassificationConfig()
    augmentation = defaults.augmentation
    add = parser.add_argument
    add("--backbone", choices=get_args(Backbone), default=defaults.backbone, help="(%(default)s)")
    add("--weights", type=Path, help="of the backbone, for ImageNet's 1000 classes; none: those that are installed")
    add("--classes", help="names with commas between: only these of the data; none: all")
    add("--size", type=int, default=defaults.image_size[0], help="side of the input, a multiple of 32 (%(default)s)")
    add("--epochs", type=int, default=defaults.epochs, help="(%(default)s)")
    add("--batch", type=int, default=defaults.batch_size, help="images of a step (%(default)s)")
    add("--seed", type=int, default=defaults.seed, help="of split, first weights and augmentation (%(default)s)")
    add("--val", type=float, default=defaults.val, help="share of training images to choose by (%(default)s)")
    add("--test", type=float, default=defaults.test, help="share of images held out (%(default)s)")
    add("--learning-rate", type=float, default=defaults.learning_rate, help="(%(default)s)")
    add("--frozen", type=float, default=defaults.frozen, help="share of epochs with a frozen backbone (%(default)s)")
    add("--unfrozen", type=float, default=defaults.unfrozen, help="share of its layers that then learns (%(default)s)")
    add("--label-smoothing", type=float, default=defaults.label_smoothing, help="(%(default)s)")
    add("--no-class-weights", action="store_true", help="images of rare classes count like all others")
    add("--no-flip", action="store_true", help="left and right differ")
    add("--rotation", type=float, default=augmentation.rotation, help="in turns, either way (%(default)s)")
    add("--zoom", type=float, default=augmentation.zoom, help="share (%(default)s)")
    add("--brightness", type=float, default=augmentation.brightness, help="share (%(default)s)")
    add("--shear", type=float, default=augmentation.shear, help="share (%(default)s)")
    add("--precision", default=defaults.precision, help="float32, mixed_float16 or mixed_bfloat16 (%(default)s)")
    add("--patience", type=int, help="stop when so many epochs brought nothing better")


def make_config(options: argparse.Namespace) -> ClassificationConfig:
    """The settings that the options say.

    Raises:
        ValueError: one is out of its bounds.
    """
    return ClassificationConfig(
        backbone=options.backbone,
        image_size=(options.size, options.size),
        epochs=options.epochs,
        batch_size=options.batch,
        seed=options.seed,
        val=options.val,
        test=options.test,
        learning_rate=options.learning_rate,
        frozen=options.frozen,
        unfrozen=options.unfrozen,
        label_smoothing=options.label_smoothing,
        class_weights=not options.no_class_weights,
        precision=options.precision,
        patience=options.patience,
        augmentation=PhotoAugmentation(
            flip=not options.no_flip,
            rotation=options.rotation,
            zoom=options.zoom,
            brightness=options.brightness,
            shear=options.shear,
        ),
    )


def epoch_line(epoch: Epoch) -> str:
    """A line below `HEADER`."""
    metrics = epoch.metrics
    shares = [f"{100 * metrics[name]:.1f}" if metrics else "" for name in ("accuracy", "f1")]
    loss = f"{metrics['loss']:.3f}" if metrics else ""
    return (
        f"{epoch.epoch:>4}/{epoch.epochs:<4} {epoch.losses['loss']:>9.3f} {shares[0]:>9} {shares[1]:>7} {loss:>9} "
        f"{epoch.learning_rate:>9.2e} {epoch.seconds:>7.1f}"
    )


def table_lines(table: ClassTable) -> Iterator[str]:
    """What was taken for what, and how well each class is told from the others, for people."""
    width = max(5, *(len(label) for label in table.labels))
    shown = table.labels[:SHOWN]
    yield f"{'':{width}} {'precision':>9} {'recall':>7} {'F1':>7} {'images':>7}   taken for"
    for label, row in zip(shown, table.confusion, strict=False):
        scores = table.per_class[label]
        figures = f"{100 * scores.precision:>9.1f} {100 * scores.recall:>7.1f} {100 * scores.f1:>7.1f}"
        found = sorted(((count, other) for count, other in zip(row, table.labels, strict=True) if count), reverse=True)
        taken = ", ".join(f"{other} {count}" for count, other in found)
        yield f"{label:{width}} {figures} {scores.support:>7}   {taken}"
    if len(table.labels) > SHOWN:
        yield f"and {len(table.labels) - SHOWN} more classes"
