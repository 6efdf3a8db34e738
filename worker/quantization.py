"""Post-training quantisation of a model's networks to int8, by NNCF. The command is `worker.quantize`.

Imports OpenVINO: choose the engine before (`worker.engines.select_backend`), which also keeps OpenVINO and NNCF from
reporting to their makers.
"""

import contextlib
import importlib.metadata
import logging
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import openvino

from shared.entries import AnyEntry
from shared.settings import Settings
from worker.engines.base import Array, Recipe, Session
from worker.engines.choice import sessions_from
from worker.engines.openvino import OpenVinoSession, compile_model, conversion_key, with_converted
from worker.engines.precision import Core, Precision, this_processor
from worker.engines.quantised import Model, Quantised, install_quantised, quantised_folder
from worker.engines.threads import threads_for, threads_if_small
from worker.evaluate import Report, evaluate
from worker.images import decode_image
from worker.models.base import DetectionModel
from worker.models.registry import load_model

#: operations that compute something with weights
WEIGHTED: Final = frozenset({"Convolution", "GroupConvolution", "MatMul"})
WARM_UP_RUNS: Final = 3
TIMED_RUNS: Final = 30


class QuantizationError(ValueError):
    """There is nothing to quantise, or nothing to do it with; the message is for a person."""


@dataclass
class Network:
    """One of the networks of a model.

    Args:
        recipe: which one.
        model: float32, as OpenVINO has it.
        session: runs it.
        inputs: of its first run since `forget`; of one image, unless it is batched.
    """

    recipe: Recipe
    model: Model
    session: OpenVinoSession
    inputs: list[Array] | None = None

    @property
    def engine(self) -> str:
        """As in `Session`."""
        return self.session.engine

    @property
    def precision(self) -> str:
        """As in `Session`."""
        return self.session.precision

    def run(self, *inputs: Array) -> list[Array]:
        """Run it in float32, and remember what it was given."""
        if self.inputs is None:
            self.inputs = [each if self.recipe.batched else each[:1] for each in inputs]
        return self.session.run(*inputs)

    def forget(self) -> None:
        """Remember the inputs of the next run."""
        self.inputs = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A model whose networks are int8.

    Args:
        title: what was done.
        models: int8 networks, by the key of their recipe.
        kept_float: the operations that were left out on purpose.
        report: how good it is.
    """

    title: str
    models: dict[str, Model]
    kept_float: tuple[str, ...]
    report: Report


class Quantizer:
    """Quantises the networks of one model.

    Args:
        entry: the model; its files are in the weights folder.
        settings: where things are, and how many threads.
        data: folder with `images/` and `instances.json`.
        photos: what to calibrate on.

    Raises:
        PublicError: the model cannot be loaded.
        QuantizationError: it is not a detector, or has no network that may be quantised.
    """

    def __init__(self, entry: AnyEntry, settings: Settings, data: Path, photos: Sequence[Path]) -> None:
        self._entry = entry
        self._settings = settings.model_copy(update={"engine": "openvino", "precision": "f32"})
        self._data = data
        self._photos = photos
        self._core: Core = openvino.Core()
        self._threads = threads_for(settings), threads_if_small(settings)
        self._networks: list[Network] = []
        with sessions_from(self._open_float):
            self._model = self._load()
        self._quantisable = [network for network in self._networks if not network.recipe.exact]
        if not self._quantisable:
            raise QuantizationError(f"{entry.name} has no network that may be quantised")

    def _load(self) -> DetectionModel:
        model = load_model(self._entry, self._settings)
        if not isinstance(model, DetectionModel):
            raise QuantizationError(f"{self._entry.name} finds no objects: there is no AP to measure")
        return model

    def _open_float(self, recipe: Recipe, settings: Settings) -> Session:
        def compile_it(model: Model) -> Network:
            compiled = compile_model(self._core, model, "f32", *self._threads)
            return Network(recipe, model, OpenVinoSession(compiled, batched=recipe.batched))

        network = with_converted(self._core, recipe, settings.engine_cache, compile_it)
        self._networks.append(network)
        return network

    def _open_known(self, recipe: Recipe, _: Settings) -> Session:
        """The float32 session of a network, without the memory of its inputs."""
        return next(network.session for network in self._networks if network.recipe.key == recipe.key)

    def _inputs(self, network: Network) -> "_Inputs":
        return _Inputs(self._model, network, self._photos, self._settings)

    def before(self) -> Report:
        """How good the model is in float32.

        Raises:
            EvaluationError: the data cannot be used.
            QuantizationError: nothing in it is what the model knows.
        """
        with sessions_from(self._open_known):
            report = evaluate(self._load(), self._data, progress=True)
        if report.metrics["AP"] < 0:
            raise QuantizationError(f"{self._data} has nothing to measure the precision of {self._entry.name} by")
        return report

    def attempts(self) -> Iterator[Attempt]:
        """Ever more careful ways to quantise it, each made and measured when it is asked for."""
        yield self._attempt("all layers", heads=False)
        yield self._attempt("the last layers stay in float32", heads=True)

    def _attempt(self, title: str, *, heads: bool) -> Attempt:
        kept = {network.recipe.key: last_weighted(network.model) if heads else () for network in self._quantisable}
        models = {
            network.recipe.key: self._quantise(network, kept[network.recipe.key]) for network in self._quantisable
        }

        def open_quantised(recipe: Recipe, settings: Settings) -> Session:
            if recipe.key not in models:
                return self._open_known(recipe, settings)
            compiled = compile_model(self._core, models[recipe.key], "int8", *self._threads)
            return OpenVinoSession(compiled, batched=recipe.batched, int8=True)

        with sessions_from(open_quantised):
            model = self._load()
        report = evaluate(model, self._data, progress=True)
        return Attempt(title, models, tuple(name for names in kept.values() for name in names), report)

    def _quantise(self, network: Network, kept_float: tuple[str, ...]) -> Model:
        import nncf

        if next(iter(self._inputs(network)), None) is None:
            raise QuantizationError(f"no photo has anything in it for the network {network.recipe.key}")
        nncf.set_log_level(logging.ERROR)
        with contextlib.redirect_stdout(sys.stderr):  # where its bars belong
            return nncf.quantize(
                network.model.clone(),
                nncf.Dataset(self._inputs(network)),
                subset_size=len(self._photos),
                # asymmetric activations: what leaves a leaky ReLU has few and small negative values
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=list(kept_float)) if kept_float else None,
                # Without instructions for it, sums of two products are kept in 16 bits and may overflow: with weights
                # of 7 bits they cannot, so that the model is the same on all processors
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            )

    def install(self, attempt: Attempt, before: Report) -> list[tuple[Path, Quantised]]:
        """Install the networks of an attempt; returns the documents and their paths."""
        return [self._install(network, attempt, before) for network in self._quantisable]

    def _install(self, network: Network, attempt: Attempt, before: Report) -> tuple[Path, Quantised]:
        model = attempt.models[network.recipe.key]
        medians_ms = self.time(network, model)

        def describe(content: str) -> Quantised:
            return Quantised(
                key=conversion_key(network.recipe),
                content=content,
                model=self._entry.name,
                ap_before=before.metrics["AP"],
                ap_after=attempt.report.metrics["AP"],
                evaluation_images=before.images,
                calibration_images=len(self._photos),
                kept_float=attempt.kept_float,
                processor=str(this_processor(self._core)),
                medians_ms=medians_ms,
                made_with={name: importlib.metadata.version(name) for name in ("openvino", "nncf")},
            )

        return install_quantised(quantised_folder(self._settings), model, describe)

    def time(self, network: Network, quantised: Model) -> dict[Precision, float]:
        """Medians of a run in milliseconds, in each precision that this processor has; they take turns."""
        inputs = next(iter(self._inputs(network)))
        precisions: list[Precision] = ["f32", "int8"]
        if this_processor(self._core).bf16:
            precisions.append("bf16")
        sessions = {}
        for precision in precisions:
            model = quantised if precision == "int8" else network.model
            compiled = compile_model(self._core, model, precision, *self._threads)
            sessions[precision] = OpenVinoSession(compiled, batched=network.recipe.batched)
        times: dict[Precision, list[float]] = {precision: [] for precision in precisions}
        for number in range(WARM_UP_RUNS + TIMED_RUNS):
            for precision, session in sessions.items():
                begin = time.perf_counter()
                session.run(*inputs)
                if number >= WARM_UP_RUNS:
                    times[precision].append((time.perf_counter() - begin) * 1000)
        return {precision: round(statistics.median(each), 3) for precision, each in times.items()}


class _Inputs:
    """What a network is given for each photo, made anew at each pass: all together may not fit into memory."""

    def __init__(self, model: DetectionModel, network: Network, photos: Sequence[Path], settings: Settings) -> None:
        self._model = model
        self._network = network
        self._photos = photos
        self._max_pixels = settings.max_megapixels * 1_000_000
        self._max_aspect = settings.max_aspect

    def __iter__(self) -> Iterator[list[Array]]:
        for path in self._photos:
            image = decode_image(path, max_pixels=self._max_pixels, max_aspect=self._max_aspect)
            self._network.forget()
            self._model.detect(image.pixels)
            # one a photo: it may be run several times (then on more of the same), or not at all if nothing is found
            if self._network.inputs is not None:
                yield self._network.inputs


def last_weighted(model: Model) -> tuple[str, ...]:
    """The names of the last operations with weights before each output of an `openvino.Model`."""
    found: dict[str, None] = {}
    for result in model.outputs:
        pending = [result.get_node()]
        seen = set()
        while pending:
            node = pending.pop()
            name = node.get_friendly_name()
            if name in seen:
                continue
            seen.add(name)
            if node.get_type_name() in WEIGHTED:
                found[name] = None
                continue
            pending += [each.get_node() for each in node.input_values()]
    return tuple(found)
