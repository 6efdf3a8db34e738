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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import openvino
from openvino import opset16 as opset

from worker.engines.base import Array, KerasModel, Recipe, check_inputs

logger = logging.getLogger(__name__)

Precision = Literal["f32", "bf16"]
#: an `openvino.CompiledModel`
Compiled: TypeAlias = Any
#: an `openvino.Model`
OpenVinoModel: TypeAlias = Any

#: raise it when the conversion changes: converted models of before are then not used any more
CONVERSION_VERSION: Final = 2
MODEL_FILE: Final = "model.xml"


class OpenVinoSession:
    """A compiled network.

    Args:
        compiled: the network; for one image, unless it is `batched`.
        batched: as in `Recipe`.
    """

    engine: Final = "openvino"

    def __init__(self, compiled: Compiled, *, batched: bool) -> None:
        # not what was asked for but what it is: without bfloat16 in the processor OpenVINO stays with float32
        self.precision: Final[str] = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._inputs = len(compiled.inputs)
        self._outputs = len(compiled.outputs)
        self._batched = batched

    def run(self, *inputs: Array) -> list[Array]:
        """Run the network; images one at a time: on a CPU a batch is no faster."""
        check_inputs(inputs, self._inputs, batched=self._batched)
        if self._batched or len(inputs[0]) == 1:
            return self._infer(inputs)
        singles = [self._infer([each[index : index + 1] for each in inputs]) for index in range(len(inputs[0]))]
        return [np.concatenate(parts) for parts in zip(*singles, strict=True)]

    def _infer(self, inputs: Sequence[Array]) -> list[Array]:
        self._request.infer([np.ascontiguousarray(each, np.float32) for each in inputs])
        # copies: the tensors belong to the request and the next run overwrites them
        return [np.array(self._request.get_output_tensor(index).data, np.float32) for index in range(self._outputs)]


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
            session = OpenVinoSession(core.compile_model(model, "CPU", options), batched=recipe.batched)
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


def trace(model: KerasModel, *, batched: bool) -> OpenVinoModel:
    """Have Keras write a model down as OpenVINO's operations, in float32.

    Not `model.export`: as of Keras 3.15 that takes no list of several inputs, and looks at the model with one image,
    so that a `Flatten` gives one row for any number of them.

    Args:
        model: a `keras.Model`, built on Keras' OpenVINO backend.
        batched: leave the first dimension of the inputs open; else it is 1.
    """
    # Keras is here already: it is what the model was built with
    import keras

    first = -1 if batched else 1
    parameters = [
        opset.parameter([first, *tensor.shape[1:]], np.float32, f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]
    tensors = [keras.ops.convert_to_tensor(parameter.output(0)) for parameter in parameters]
    outputs = model(tensors if len(tensors) > 1 else tensors[0])
    results = [opset.result(each.output) for each in (outputs if isinstance(outputs, list) else [outputs])]
    return openvino.Model(results, parameters, model.name)


def _convert(recipe: Recipe, folder: Path) -> None:
    """Write the network into `folder`, which is there completely or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    try:
        openvino.serialize(trace(recipe.build(), batched=recipe.batched), scratch / MODEL_FILE)
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
