"""Runs networks by the keras engine: `python -m tests.worker.keras_heads FOLDER [NAME CFG WEIGHTS]...`.

Reads the inputs NAME.batch.npy from the folder and writes the raw heads to NAME.headN.npy there.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shared.settings import Settings
from worker.engines import Recipe, open_session
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.plan import Plan, make_plan
from worker.models.darknet.weights import read_weights


def build(plan: Plan, weights: Path) -> Any:
    from worker.models.darknet.network import build_network

    return build_network(plan, read_weights(weights, plan))


def main(folder: Path, arguments: list[str]) -> None:
    for name, cfg, weights in zip(arguments[::3], arguments[1::3], arguments[2::3], strict=True):
        batch = np.load(folder / f"{name}.batch.npy")
        plan = make_plan(load_cfg(Path(cfg)), batch.shape[1:3])
        recipe = Recipe(name, partial(build, plan, Path(weights)), outputs=len(plan.heads))
        session = open_session(recipe, Settings(engine="keras"))
        assert session.engine == "keras-tensorflow"
        for index, head in enumerate(session.run(batch)):
            np.save(folder / f"{name}.head{index}.npy", head)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
