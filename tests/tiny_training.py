"""A data set of drawn shapes, and a detector small enough that a test can train it."""

import io
import zipfile
from pathlib import Path

import cv2
import numpy as np

from tests.worker.darknet_files import write_random_weights
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.plan import make_plan

SIDE = 64
_CONVOLUTION = "\n[convolutional]\nfilters={}\nsize={}\nstride={}\npad=1\nbatch_normalize={}\nactivation={}\n"
CFG = (
    f"[net]\nheight={SIDE}\nwidth={SIDE}\nchannels=3\n"
    + "".join(_CONVOLUTION.format(filters, 3, 2, 1, "leaky") for filters in (8, 16, 32))
    + _CONVOLUTION.format(32, 3, 1, 1, "leaky")
    + _CONVOLUTION.format(14, 1, 1, 0, "linear")
    + "\n[yolo]\nmask=0,1\nanchors=12,12, 24,24\nclasses=2\nnum=2\n"
)
CATALOG = """
default = "tiny"
[models.tiny]
family = "darknet"
title = "Tiny"
config = { name = "tiny.cfg" }
weights = { name = "tiny.weights" }
classes = { name = "tiny.names" }
"""


def write_tiny_model(weights: Path) -> Path:
    """A catalogue with one installed detector that has learnt nothing; returns the catalogue."""
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "tiny.cfg").write_text(CFG)
    (weights / "tiny.names").write_text("a\nb\n")
    write_random_weights(weights / "tiny.weights", make_plan(load_cfg(weights / "tiny.cfg")))
    path = weights / "catalog.toml"
    path.write_text(CATALOG)
    return path


def picture(number: int) -> tuple[bytes, str]:
    """A PNG with a red or a blue square on grey, and the line of YOLO's format for it."""
    random = np.random.default_rng(number)
    side = int(random.integers(18, 30))
    left, top = (int(random.integers(SIDE - side)) for _ in range(2))
    pixels = random.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    pixels[top : top + side, left : left + side] = (30, 30, 220) if number % 2 else (220, 30, 30)
    shares = [(left + side / 2) / SIDE, (top + side / 2) / SIDE, side / SIDE, side / SIDE]
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    return encoded, f"{number % 2} " + " ".join(map(str, shares)) + "\n"


def squares(count: int = 16, *, broken: bool = False) -> bytes:
    """A zip file of such pictures in YOLO's format; `broken`: with a box without area and a line that is none."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("squares/classes.txt", "blue\nred\n")
        for number in range(count):
            encoded, line = picture(number)
            if broken and number == 1:
                line += "0 0.5 0.5 0 0.2\nnonsense\n"
            archive.writestr(f"squares/images/{number:03d}.png", encoded)
            archive.writestr(f"squares/labels/{number:03d}.txt", line)
    return file.getvalue()
