"""Which engine runs the networks, and the Keras backend that goes with it."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from shared.settings import Settings
from worker.engines.base import Recipe, Session
from worker.engines.threads import threads_for, threads_if_small

EngineName = Literal["openvino", "keras"]


def choose_engine(settings: Settings) -> EngineName:
    """The engine that `settings.engine` asks for; "auto" is openvino if that is installed."""
    if settings.engine != "auto":
        return settings.engine
    return "openvino" if importlib.util.find_spec("openvino") else "keras"


def select_backend(engine: EngineName, threads: int) -> None:
    """Set this process up for an engine. The one place that does; must come before Keras is imported.

    With "openvino", Keras builds its networks on OpenVINO. With "keras" its own choice stands: `KERAS_BACKEND`, its
    configuration file, or else TensorFlow.

    Raises:
        RuntimeError: Keras is there already, with a backend that does not go with the engine.
    """
    if engine == "keras":
        os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
        # or the first process takes the whole GPU (JAX: three quarters of it), and the next one finds none
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        return
    # OpenVINO's converter of other formats reports each import to its makers. It is not needed, and a service that
    # people host themselves talks to nobody: without this module OpenVINO goes without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    os.environ["KERAS_BACKEND"] = "openvino"
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != "openvino":
        raise RuntimeError(
            f"Keras was imported with the backend {keras.config.backend()!r} before the openvino engine was chosen"
        )


def select_backend_for_training(threads: int) -> None:
    """Set this process up for training, which takes TensorFlow, whatever backend the environment names.

    Must come before Keras is imported.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    select_backend("keras", threads)


#: opens a session in the place of `open_session`
Opener = Callable[[Recipe, Settings], Session]
_opener: ContextVar[Opener | None] = ContextVar("opener", default=None)


@contextmanager
def sessions_from(opener: Opener) -> Iterator[None]:
    """Let `opener` open the sessions of models that are loaded within: how tools get between a model and its networks.

    It is called after the engine of the settings was chosen.
    """
    token = _opener.set(opener)
    try:
        yield
    finally:
        _opener.reset(token)


def open_session(recipe: Recipe, settings: Settings) -> Session:
    """Make a network ready to run, with the engine, precision and threads that the settings ask for."""
    engine, threads = choose_engine(settings), threads_for(settings)
    if engine == "keras":
        # what JAX compiled for a GPU, which can take a quarter of a minute for each length of a batch
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(settings.engine_cache / "jax"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    select_backend(engine, threads)
    if (opener := _opener.get()) is not None:
        return opener(recipe, settings)
    if engine == "keras":
        from worker.engines.keras import KerasSession

        return KerasSession(recipe, settings.precision)
    from worker.engines.openvino import open_openvino
    from worker.engines.quantised import quantised_folder

    few, int8 = threads_if_small(settings), quantised_folder(settings)
    return open_openvino(recipe, settings.engine_cache, settings.precision, threads, int8, threads_if_small=few)
