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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import openvino
from openvino import opset16 as opset

from worker.engines.base import Array, KerasModel, Recipe, check_inputs
from worker.engines.effort import is_small
from worker.engines.layout import sink_transpositions
from worker.engines.precision import Asked, Core, Precision, Processor, choose_precision, this_processor
from worker.engines.quantised import Model, find_quantised, read_quantised

logger = logging.getLogger(__name__)

#: an `openvino.CompiledModel`
Compiled: TypeAlias = Any
T = TypeVar("T")

#: raise it when the conversion changes: converted models of before are then not used any more
CONVERSION_VERSION: Final = 3
MODEL_FILE: Final = "model.xml"


class OpenVinoSession:
    """A compiled network.

    Args:
        compiled: the network; for one image, unless it is `batched`.
        batched: as in `Recipe`.
        int8: it is an int8 one.
    """

    engine: Final = "openvino"

    def __init__(self, compiled: Compiled, *, batched: bool, int8: bool = False) -> None:
        # not what was asked for but what it is: without bfloat16 in the processor OpenVINO stays with float32
        self.precision: Final[str] = "int8" if int8 else compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
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


def open_openvino(
    recipe: Recipe, cache: Path, asked: Asked, threads: int, int8: Path | None = None, *, threads_if_small: int = 0
) -> OpenVinoSession:
    """Compile a network: its int8 form if it is installed and wanted, else from the cache of converted ones.

    Args:
        recipe: the network.
        cache: folder of converted networks; made if it is not there. Processes may share it.
        asked: the arithmetic. What the processor or the network does not have is replaced by what comes nearest, with
            a warning; `session.precision` says what it is.
        threads: to compute with.
        int8: folder of int8 networks; None: they are not looked for.
        threads_if_small: to compute a small network with; 0: the same.
    """

    def compile_it(model: Model, precision: Precision) -> Compiled:
        return compile_model(core, model, precision, threads, threads_if_small)

    core = openvino.Core()
    processor = this_processor(core)
    asked = "f32" if recipe.exact else asked
    if asked in {"auto", "int8"} and int8 is not None:
        session = _open_quantised(core, recipe, asked, processor, compile_it, int8)
        if session is not None:
            return session
    precision = choose_precision(asked, processor, None)
    if asked not in {"auto", precision}:
        reason = "no int8 form of it is installed" if asked == "int8" else f"this processor has no {asked}"
        logger.warning("%s: %s runs in %s", reason, recipe.key, precision)
    compiled = with_converted(core, recipe, cache, lambda model: compile_it(model, precision))
    return OpenVinoSession(compiled, batched=recipe.batched)


def _open_quantised(
    core: Core,
    recipe: Recipe,
    asked: Asked,
    processor: Processor,
    compile_it: Callable[[Model, Precision], Compiled],
    folder: Path,
) -> OpenVinoSession | None:
    """The int8 form, if there is one and it is to be taken."""
    found = find_quantised(folder, conversion_key(recipe))
    if found is None or choose_precision(asked, processor, found.measured) != "int8":
        return None
    try:
        compiled = compile_it(read_quantised(core, folder, found), "int8")
    except (RuntimeError, OSError):
        logger.warning("the int8 model %s in %s is broken: it is not used", found.content, folder, exc_info=True)
        return None
    return OpenVinoSession(compiled, batched=recipe.batched, int8=True)


def compile_model(core: Core, model: Model, precision: Precision, threads: int, threads_if_small: int = 0) -> Compiled:
    """Compile a model for a single caller that wants each answer soon. `threads_if_small` as in `open_openvino`.

    Of an int8 model the few operations that are not int8 run in float32, also where OpenVINO would silently take
    bfloat16: so what runs is what was measured.
    """
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads_if_small if threads_if_small and is_small(model) else threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # or each worker of one thread would bind it to the first core, and all of them share that
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(model, "CPU", options)


def conversion_key(recipe: Recipe) -> str:
    """Says which converted network this is, whichever OpenVINO wrote it."""
    return f"{CONVERSION_VERSION}:{'batched' if recipe.batched else 'single'}:{recipe.key}"


def with_converted(core: Core, recipe: Recipe, cache: Path, use: Callable[[Model], T]) -> T:
    """Do something with a converted network.

    Args:
        core: an `openvino.Core`.
        recipe: the network; built and converted if it is not in the cache.
        cache: folder of converted networks.
        use: is given the `openvino.Model`. If it raises a `RuntimeError`, the file is taken for broken and made anew.

    Returns:
        What `use` does.
    """
    name = f"{importlib.metadata.version('openvino')}:{conversion_key(recipe)}"
    folder = cache / hashlib.sha256(name.encode()).hexdigest()[:32]
    for attempt in range(2):
        if not (folder / MODEL_FILE).exists():
            _convert(recipe, folder)
        try:
            model = core.read_model(folder / MODEL_FILE)
            if len(model.outputs) != recipe.outputs:
                raise RuntimeError(f"{len(model.outputs)} outputs instead of {recipe.outputs}")
            return use(model)
        except RuntimeError:
            if attempt:
                raise
            logger.warning("the converted model in %s is broken: it is made anew", folder, exc_info=True)
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError("unreachable")


def trace(model: KerasModel, *, batched: bool) -> Model:
    """Have Keras write a model down as OpenVINO's operations, in float32.

    Not `model.export`: as of Keras 3.15 that takes no list of several inputs, and looks at the model with one image,
    so that a `Flatten` gives one row for any number of them.

    Args:
        model: a `keras.Model`, built on Keras' OpenVINO backend.
        batched: leave the first dimension of the inputs open; else it is 1.
    """
    # Keras is here already: it is what the model was built with
    import keras
    from openvino._offline_transformations import apply_moc_transformations

    first = -1 if batched else 1
    parameters = [
        opset.parameter([first, *tensor.shape[1:]], np.float32, f"input_{index}")
        for index, tensor in enumerate(model.inputs)
    ]
    tensors = [keras.ops.convert_to_tensor(parameter.output(0)) for parameter in parameters]
    outputs = model(tensors if len(tensors) > 1 else tensors[0])
    results = [opset.result(each.output) for each in (outputs if isinstance(outputs, list) else [outputs])]
    traced = openvino.Model(results, parameters, model.name)
    sink_transpositions(traced)
    # What OpenVINO's own converters do at their end: batch norms go into the convolutions, constants are folded. A
    # worker would do it at each start, and NNCF finds no biases to correct without. It has no public name.
    apply_moc_transformations(traced, cf=False)
    return traced


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
