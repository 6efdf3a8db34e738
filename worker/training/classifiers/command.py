"""The words of `python -m worker.train classification`: its options, and what it prints."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from shared.runs import Backbone, ClassTable
from worker.training.classifiers.config import ClassificationConfig, PhotoAugmentation

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
    add("--frozen", type=float, default=defaults.frozen, help="share of epochs with a frozen backbone (%(default)s)")
    add("--unfrozen", type=float, default=defaults.unfrozen, help="share of its layers that then learns (%(default)s)")
    add("--label-smoothing", type=float, default=defaults.label_smoothing, help="(%(default)s)")
    add("--no-class-weights", action="store_true", help="images of rare classes count like all others")
    add("--no-flip", action="store_true", help="left and right differ")
    add("--rotation", type=float, default=augmentation.rotation, help="in turns, either way (%(default)s)")
    add("--zoom", type=float, default=augmentation.zoom, help="share (%(default)s)")
    add("--brightness", type=float, default=augmentation.brightness, help="share (%(default)s)")
    add("--shear", type=float, default=augmentation.shear, help="share (%(default)s)")


def make_config(options: argparse.Namespace, common: dict[str, Any]) -> ClassificationConfig:
    """The settings that the options say; `common` are those of every kind of training.

    Raises:
        ValueError: one is out of its bounds.
    """
    return ClassificationConfig(
        backbone=options.backbone,
        image_size=(options.size, options.size),
        frozen=options.frozen,
        unfrozen=options.unfrozen,
        label_smoothing=options.label_smoothing,
        class_weights=not options.no_class_weights,
        augmentation=PhotoAugmentation(
            flip=not options.no_flip,
            rotation=options.rotation,
            zoom=options.zoom,
            brightness=options.brightness,
            shear=options.shear,
        ),
        **common,
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
