"""ENGINE=keras: its arithmetic, its batches, and JAX, which is for GPUs and runs here on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from shared.settings import Settings
from tests.worker.darknet_files import tiny_cfg, write_random_weights
from tests.worker.environments import with_the_project
from worker.engines import Recipe, open_session, select_backend
from worker.engines.arithmetic import Arithmetic, Gpu, choose_arithmetic
from worker.engines.keras import KerasSession
from worker.engines.precision import Asked
from worker.models.darknet.cfg import load_cfg
from worker.models.darknet.network import build_network
from worker.models.darknet.plan import make_plan
from worker.models.darknet.weights import read_weights
from worker.resident.verdicts import public_error

NEW, OLD = Gpu("H200", tf32=True), Gpu("V100", tf32=False)


@pytest.mark.parametrize(
    ("asked", "gpu", "expected", "warns"),
    [
        ("auto", NEW, "tf32", False),
        ("f32", NEW, "f32", False),
        ("bf16", NEW, "tf32", True),
        ("int8", NEW, "tf32", True),
        ("auto", OLD, "f32", False),
        ("auto", None, "f32", False),
        ("bf16", None, "f32", True),
    ],
)
def test_arithmetic(
    asked: Asked, gpu: Gpu | None, expected: Arithmetic, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose_arithmetic(asked, gpu) == expected
    assert (f"has no {asked}: models run in {expected}" in caplog.text) == warns


@pytest.mark.parametrize(("exact", "expected"), [(False, "tf32"), (True, "f32")])
def test_what_computes_with_coordinates_is_exact(
    monkeypatch: pytest.MonkeyPatch, exact: bool, expected: Arithmetic
) -> None:
    monkeypatch.setattr("worker.engines.keras.this_gpu", lambda: NEW)
    assert KerasSession(Recipe("double", double, outputs=1, exact=exact), "auto").precision == expected


def double() -> Any:
    entry = keras.Input((3,))
    return keras.Model(entry, keras.layers.Rescaling(2.0)(entry))


def test_few_lengths_are_compiled() -> None:
    """Nine photos with one to nine objects: what compiles sees four lengths."""
    session = KerasSession(Recipe("double", double, outputs=1, batched=True))
    call, seen = session._call, set()

    def counted(array: Any) -> Any:
        seen.add(len(array))
        return call(array)

    session._call = counted
    for length in range(10):
        rows = np.random.default_rng(length).random((length, 3), np.float32)
        (doubled,) = session.run(rows)
        assert doubled.shape == rows.shape
        np.testing.assert_allclose(doubled, rows * 2, rtol=0.02)
    assert seen == {1, 2, 4, 8, 16}


def test_a_gpu_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_FORCE_GPU_ALLOW_GROWTH", "XLA_PYTHON_CLIENT_PREALLOCATE", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")  # an operator's word counts
    select_backend("keras", 1)
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    select_backend("keras", 1)
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


@pytest.mark.parametrize(
    "words",
    [
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 2.64GiB with allocator GPU_0_bfc on device 0.",
        "Exception encountered when calling Conv2D.call().\n\n\x1b[1mCUDA out of memory. Tried to allocate 1.19 GiB. "
        "GPU 0 has a total capacity of 139.80 GiB of which 134.13 GiB is free.",
        "Graph execution error: Out of memory while trying to allocate 3221225472 bytes. [Op:__inference_function]",
    ],
    ids=["JAX", "PyTorch", "TensorFlow"],
)
def test_a_full_gpu_is_told_as_such(words: str) -> None:
    assert public_error(RuntimeError(words)).code == "out_of_memory"


def test_jax(tmp_path: Path, settings: Settings) -> None:
    """It gives what OpenVINO gives, and a job that is interrupted in the middle of a call does the model no harm."""
    (tmp_path / "tiny.cfg").write_text(tiny_cfg(""))
    plan = make_plan(load_cfg(tmp_path / "tiny.cfg"))
    write_random_weights(tmp_path / "tiny.weights", plan)
    batch = np.random.default_rng(0).random((3, plan.input.height, plan.input.width, 3), np.float32)
    np.save(tmp_path / "batch.npy", batch)
    environment = with_the_project(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # another test's
    done = subprocess.run(
        [sys.executable, "-m", "tests.worker.on_jax", str(tmp_path)],
        capture_output=True, text=True, env=environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report.pop("interrupted") > 10
    assert report == {
        "engine": "keras-jax",
        "precision": "f32",
        "same": True,
        "writable": True,
        "keeps": str(tmp_path / "cache" / "jax"),
    }
    recipe = Recipe("tiny", lambda: build_network(plan, read_weights(tmp_path / "tiny.weights", plan)), outputs=1)
    (expected,) = open_session(recipe, settings).run(batch)
    np.testing.assert_allclose(np.load(tmp_path / "heads.npy"), expected, rtol=1e-3, atol=1e-4)
