"""A network on JAX, for a process of its own: prints JSON of what it did.

    KERAS_BACKEND=jax python -m tests.worker.on_jax FOLDER

FOLDER holds `tiny.cfg`, `tiny.weights` and `batch.npy`.
"""

import json
import signal
import sys
from pathlib import Path
from types import FrameType

import numpy as np

from shared.settings import Settings
from worker.engines import KerasModel, Recipe, open_session
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import read_weights

INTERRUPTIONS = 40


class Interrupted(Exception):  # noqa: N818
    pass


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise Interrupted


def main(folder: Path) -> None:
    plan = make_plan(load_cfg(folder / "tiny.cfg"))

    def build() -> KerasModel:
        from worker.models.darknet.network import build_network

        return build_network(plan, read_weights(folder / "tiny.weights", plan))

    settings = Settings(engine="keras", engine_cache_dir=folder / "cache", data_dir=folder)
    session = open_session(Recipe("tiny", build, outputs=1), settings)
    batch = np.load(folder / "batch.npy")
    (heads,) = session.run(batch)
    np.save(folder / "heads.npy", heads)
    signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    for number in range(INTERRUPTIONS):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 * (1 + number % 20))
            for _ in range(1000):
                session.run(batch)
        except Interrupted:
            interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    import jax  # not before the session has set it up

    (again,) = session.run(batch)
    report = {
        "engine": session.engine,
        "precision": session.precision,
        "interrupted": interrupted,
        "same": bool(np.array_equal(again, heads)),
        "writable": heads.flags.writeable,
        "keeps": jax.config.jax_compilation_cache_dir,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
