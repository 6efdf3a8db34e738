"""`python -m worker.sample`: draw the sample picture anew, with the models that ship as judges. Takes some minutes."""

import argparse
import sys
from pathlib import Path
from typing import Final

import cv2

from shared.catalog import load_catalog
from shared.settings import ROOT, get_settings
from worker.models.base import DetectionModel
from worker.models.registry import ModelCache
from worker.sample.search import draw_sample

SAMPLE: Final = ROOT / "web/static/img/sample.jpg"
#: that ship with the project
JUDGES: Final = ("person", "person-masks")
SEED: Final = 1
QUALITY: Final = 88


def main() -> int:
    """The command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.sample", description="Draw the sample picture.")
    parser.add_argument("--seed", type=int, default=SEED, help="another one draws another street (%(default)s)")
    parser.add_argument("--out", type=Path, default=SAMPLE, help="where to (%(default)s)")
    options = parser.parse_args()
    settings = get_settings()
    catalog = load_catalog(settings.catalog)
    cache = ModelCache(lambda: catalog, settings)
    models = [model for name in JUDGES if isinstance(model := cache.get(name), DetectionModel)]
    image, scores = draw_sample(models, options.seed)
    print("found with at least:", ", ".join(f"{score:.2f}" for score in scores))
    encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    options.out.write_bytes(encoded[1].tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
