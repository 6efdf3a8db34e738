"""OpenVINO: the default on a CPU.

A network is converted once, to OpenVINO's own format in float32, and kept in a folder; from then on a worker starts
without Keras. Nothing here imports TensorFlow.
"""

import hashlib
import importlib.metadata
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import openvino

from worker.engines.base import Array, Recipe

logger = logging.getLogger(__name__)

Precision = Literal["f32", "bf16"]
#: an `openvino.CompiledModel`
Compiled: TypeAlias = Any

#: raise it when the conversion changes: converted models of before are then not used any more
CONVERSION_VERSION: Final = 1
MODEL_FILE: Final = "model.xml"


class OpenVinoSession:
    """A compiled network.

    Args:
        compiled: with one input of a fixed size for one image.
    """

    engine: Final = "openvino"

    def __init__(self, compiled: Compiled) -> None:
        # not what was asked for but what it is: without bfloat16 in the processor OpenVINO stays with float32
        self.precision: Final[str] = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    def run(self, batch: Array) -> list[Array]:
        """Run the network, one image at a time: on a CPU a batch is no faster."""
        singles = [self._run_one(batch[index : index + 1]) for index in range(len(batch))]
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*singles, strict=True)]

    def _run_one(self, image: Array) -> list[Array]:
        self._request.infer([np.ascontiguousarray(image, np.float32)])
        # copies: the tensors belong to the request and the next run overwrites them
        outputs = range(len(self._compiled.outputs))
        return [np.array(self._request.get_output_tensor(index).data, np.float32) for index in outputs]


def open_openvino(recipe: Recipe, cache: Path, precision: Precision, threads: int) -> OpenVinoSession:
    """Compile a network, from the cache of converted ones if it is there.

    Args:
        recipe: the network.
        cache: folder of converted networks; made if it is not there. Processes may share it.
        precision: the arithmetic; OpenVINO would silently take bfloat16 where the processor has it.
        threads: to compute with.
    """
    name = f"{importlib.metadata.version('openvino')}:{CONVERSION_VERSION}:{recipe.key}"
    folder = cache / hashlib.sha256(name.encode()).hexdigest()[:32]
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    core = openvino.Core()
    for attempt in range(2):
        if not (folder / MODEL_FILE).exists():
            _convert(recipe, folder)
        try:
            model = core.read_model(folder / MODEL_FILE)
            if len(model.outputs) != recipe.outputs:
                raise RuntimeError(f"{len(model.outputs)} outputs instead of {recipe.outputs}")
            session = OpenVinoSession(core.compile_model(model, "CPU", options))
        except RuntimeError:
            if attempt:
                raise
            logger.warning("the converted model in %s is broken: it is made anew", folder, exc_info=True)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            if session.precision != precision:
                logger.warning("this processor has no %s: the model runs in %s", precision, session.precision)
            return session
    raise AssertionError("unreachable")


def _convert(recipe: Recipe, folder: Path) -> None:
    """Write the network into `folder`, which is there completely or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        recipe.build().export(str(scratch / MODEL_FILE), format="openvino", verbose=False)
        for path in scratch.iterdir():
            _sync(path)
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:
            # another worker was faster, or a folder without a model is in the way
            if (folder / MODEL_FILE).exists():
                return
            shutil.rmtree(folder, ignore_errors=True)
            scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
