"""What ENGINE=keras takes for a batch of photos, on the GPU or whatever `KERAS_BACKEND` computes on.

    KERAS_BACKEND=jax WEIGHTS_DIR=DIR python -m bench.keras_batches --model yolov3 --photo dog.jpg --size 416

DIR holds the files of a Darknet model as the catalogue names them; without its `.weights` it gets seeded random ones.
A call takes NumPy arrays and gives NumPy arrays, so the ways to the GPU and back are in its time. The first call of a
length is apart: it compiles, unless what was compiled before is found in `ENGINE_CACHE_DIR`. Prints Markdown.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from bench.engines import arguments, darknet_entry, lay_out
from bench.report import Table, machine
from shared.settings import get_settings
from worker.engines import Recipe, open_session
from worker.images import decode_image
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.plan import make_plan
from worker.models.darknet.preprocess import prepare
from worker.models.darknet.weights import read_weights

LENGTHS: Final = (1, 8, 16)


def main() -> None:
    options = arguments(__doc__).parse_args()
    settings = get_settings().model_copy(update={"engine": "keras"})
    entry = darknet_entry(options.model, settings)
    table = Table("arithmetic", "photos", "first call, s", "median ms", "ms a photo", "off f32, of its norm")
    with tempfile.TemporaryDirectory() as scratch:
        entry, _ = lay_out(entry, settings.weights_dir, Path(scratch), options.size)
        plan = make_plan(load_cfg(Path(scratch) / entry.config.name), entry.image_size)
        weights = read_weights(Path(scratch) / entry.weights.name, plan)
    image = decode_image(options.photo, max_pixels=10**8, max_aspect=100).pixels
    photo = prepare(image, plan.input.height, plan.input.width, entry.resize).batch

    def build() -> object:
        from worker.models.darknet.network import build_network

        return build_network(plan, weights)

    exact: list[np.ndarray] = []
    done: set[str] = set()
    for asked in ("f32", "auto"):
        session = open_session(
            Recipe("bench", build, outputs=len(plan.heads)), settings.model_copy(update={"precision": asked})
        )
        if session.precision in done:
            continue  # nothing here is faster than float32
        done.add(session.precision)
        for length in LENGTHS:
            batch = np.repeat(photo, length, axis=0)
            begin = time.perf_counter()
            outputs = session.run(batch)
            first = time.perf_counter() - begin
            times = []
            for _ in range(options.rounds):
                begin = time.perf_counter()
                session.run(batch)
                times.append((time.perf_counter() - begin) * 1000)
            median = statistics.median(times)
            heads = np.concatenate([each[0].ravel() for each in outputs])
            exact = exact or [heads]
            off = float(np.linalg.norm(heads - exact[0]) / np.linalg.norm(exact[0]))
            table.row(
                session.precision, length, f"{first:.2f}", f"{median:.2f}", f"{median / length:.2f}", f"{off:.1e}"
            )
    from worker.engines.arithmetic import this_gpu  # Keras comes with it, which the session has set up

    gpu = this_gpu()
    print(f"{gpu.name if gpu else 'no GPU'}, {session.engine}, {machine('keras', 'jax', 'torch', 'tensorflow')}\n")
    print(table)


if __name__ == "__main__":
    main()
