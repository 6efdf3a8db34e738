"""Makes the int8 form of a model: `python -m worker.quantize --model M --data DIR`.

DIR holds `images/` and `instances.json` in COCO's format. Post-training quantisation (NNCF) looks at what flows through
the network for some of the photos, or for those of another folder (`--photos`); it needs no annotations. Then the
average precision is measured before and after on all of DIR, and the int8 model is installed only if it loses no more
than `--max-loss`. Workers take it from their next start on, with `PRECISION=int8`, or with `auto` where it is faster.

A worker needs no NNCF, only this command does: `pip install 'dropsight[quantize]'`.
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from shared.catalog import load_catalog
from shared.errors import PublicError
from shared.settings import Settings, get_settings
from worker.engines import select_backend
from worker.engines.threads import threads_for
from worker.evaluate import EvaluationError, Report

CALIBRATION: Final = 64
MAX_LOSS: Final = 1.0
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def calibration_photos(folder: Path, number: int) -> list[Path]:
    """Up to `number` images of a folder (of its `images/` if it has that), evenly spread over their names.

    Raises:
        ValueError: there are none.
    """
    folder = folder / "images" if (folder / "images").is_dir() else folder
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found or number < 1:
        raise ValueError(f"{folder}: no images to calibrate on")
    count = min(number, len(found))
    return [found[index * len(found) // count] for index in range(count)]


def _quantize(settings: Settings, options: argparse.Namespace) -> bool:
    """Print what comes of it; whether the model was installed."""
    # after the backend was chosen
    from worker.quantization import Quantizer

    catalog = load_catalog(settings.catalog, settings.default_model)
    entry = catalog[options.model or catalog.default]
    photos = calibration_photos(options.photos or options.data, options.calibration)
    quantizer = Quantizer(entry, settings, options.data, photos)
    before = quantizer.before()
    _say(f"{entry.name}: {before.images} images to measure on, {len(photos)} to calibrate on")
    _say(_line("float32", before, before))
    for attempt in quantizer.attempts():
        _say(_line(f"int8, {attempt.title}", attempt.report, before))
        if lost_points(before, attempt.report) <= options.max_loss:
            for path, found in quantizer.install(attempt, before):
                times = ", ".join(f"{name} {median:.1f} ms" for name, median in found.medians_ms.items())
                _say(f"{times} a run on {found.processor}")
                _say(f"installed: {path}")
            return True
    _say(f"not installed: it loses more than {options.max_loss:g} points of AP")
    return False


def lost_points(before: Report, after: Report) -> float:
    """Points of AP that are lost: of the boxes or of the masks, whichever lose more."""
    measured = [name for name in ("AP", "mask_AP") if name in before.metrics]
    return max(100 * (before.metrics[name] - after.metrics[name]) for name in measured)


def _line(title: str, report: Report, before: Report) -> str:
    names = [name for name in ("AP", "AP50", "AP75", "mask_AP") if name in report.metrics]
    figures = (f"{name} {100 * report.metrics[name]:5.2f}" for name in names)
    change = "" if report is before else f"  ({-lost_points(before, report):+.2f})"
    return f"{title:45} {'  '.join(figures)}{change}"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None, settings: Settings | None = None) -> int:
    """The command. Returns the exit status: 0 only if the model was installed."""
    parser = argparse.ArgumentParser(prog="python -m worker.quantize", description="Make a model's int8 form.")
    parser.add_argument("--model", help="its name; none: the default model")
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and instances.json")
    parser.add_argument("--photos", type=Path, help="folder of images to calibrate on; none: those of --data")
    parser.add_argument("--calibration", type=int, default=CALIBRATION, help="how many of them (%(default)s)")
    parser.add_argument("--max-loss", type=float, default=MAX_LOSS, help="points of AP that it may lose (%(default)s)")
    options = parser.parse_args(arguments)
    settings = settings or get_settings()
    if importlib.util.find_spec("nncf") is None:
        sys.stderr.write("NNCF is not installed: pip install 'dropsight[quantize]'\n")
        return 1
    select_backend("openvino", threads_for(settings))
    try:
        return 0 if _quantize(settings, options) else 1
    except (PublicError, EvaluationError, OSError, ValueError) as error:
        sys.stderr.write(f"{error.message if isinstance(error, PublicError) else error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
