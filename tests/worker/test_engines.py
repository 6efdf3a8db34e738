"""The engines: choice, threads, the cache of converted models, and what they may import."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino
import pytest

from shared.settings import Settings
from tests.worker.darknet_files import tiny_cfg, write_random_weights
from tests.worker.environments import with_the_project
from worker.engines import Recipe, Session, choose_engine, open_session, select_backend
from worker.engines.choice import sessions_from
from worker.engines.keras import KerasSession
from worker.engines.openvino import open_openvino
from worker.engines.precision import Asked
from worker.engines.threads import available_cpus, threads_for, threads_if_small
from worker.models.darknet.cfg import parse_cfg
from worker.models.darknet.plan import make_plan

BATCH = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)


class Kitchen:
    """Builds a small network of two outputs and counts how often."""

    def __init__(self, factor: float = 2.0) -> None:
        self.built = 0
        self.factor = factor

    def build(self) -> Any:
        self.built += 1
        entry = keras.Input((8, 8, 3))
        doubled = keras.layers.Rescaling(self.factor)(entry)
        return keras.Model(entry, [doubled, keras.layers.MaxPooling2D(2)(doubled)])

    def recipe(self, key: str = "kitchen") -> Recipe:
        return Recipe(key, self.build, outputs=2)


def check(outputs: list[np.ndarray], factor: float = 2.0) -> None:
    assert [output.shape for output in outputs] == [(3, 8, 8, 3), (3, 4, 4, 3)]
    assert all(output.dtype == np.float32 for output in outputs)
    np.testing.assert_allclose(outputs[0], BATCH * factor, rtol=1e-6)
    np.testing.assert_allclose(outputs[1], outputs[0].reshape(3, 4, 2, 4, 2, 3).max((2, 4)), rtol=1e-6)


def test_a_model_is_converted_once(tmp_path: Path) -> None:
    kitchen = Kitchen()
    for _ in range(3):
        check(open_openvino(kitchen.recipe(), tmp_path / "new" / "cache", "f32", 1).run(BATCH))
    assert kitchen.built == 1
    other = Kitchen(3.0)
    check(open_openvino(other.recipe("other"), tmp_path / "new" / "cache", "f32", 1).run(BATCH), 3.0)
    assert other.built == 1
    folders = list((tmp_path / "new" / "cache").iterdir())
    assert len(folders) == 2
    assert not [folder for folder in folders if folder.name.startswith("new-")]


def test_outputs_outlive_the_next_run(tmp_path: Path) -> None:
    session = open_openvino(Kitchen().recipe(), tmp_path, "f32", 1)
    first = session.run(BATCH)
    session.run(BATCH * 0)
    check(first)


@pytest.mark.parametrize("damage", ["cut", "garbage", "no weights", "cut weights", "empty folder", "another model"])
def test_a_broken_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    kitchen = Kitchen()
    open_openvino(kitchen.recipe(), tmp_path, "f32", 1)
    (folder,) = tmp_path.iterdir()
    model = folder / "model.xml"
    match damage:
        case "cut":
            model.write_bytes(model.read_bytes()[:500])
        case "garbage":
            model.write_bytes(b"\0garbage")
        case "no weights":
            (folder / "model.bin").unlink()
        case "cut weights":
            (folder / "model.bin").write_bytes((folder / "model.bin").read_bytes()[:1])
        case "empty folder":
            for path in folder.iterdir():
                path.unlink()
        case _:
            model.write_text(model.read_text().replace('type="Result"', 'type="Nothing"'))
    check(open_openvino(kitchen.recipe(), tmp_path, "f32", 1).run(BATCH))
    assert kitchen.built == 2
    check(open_openvino(kitchen.recipe(), tmp_path, "f32", 1).run(BATCH))
    assert kitchen.built == 2


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    def build() -> Any:
        raise ValueError("no such network")

    with pytest.raises(ValueError, match="no such network"):
        open_openvino(Recipe("bad", build, outputs=1), tmp_path, "f32", 1)
    assert list(tmp_path.iterdir()) == []


def test_two_workers_convert_at_once(tmp_path: Path) -> None:
    """The one that comes second finds the folder of the first in its way, and takes it."""
    kitchen = Kitchen()

    def build() -> Any:
        if not kitchen.built:
            model = kitchen.build()
            open_openvino(kitchen.recipe(), tmp_path, "f32", 1)
            return model
        return kitchen.build()

    check(open_openvino(Recipe("kitchen", build, outputs=2), tmp_path, "f32", 1).run(BATCH))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("asked", ["f32", "bf16", "int8", "auto"])
def test_precision_is_what_it_says(tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: Asked) -> None:
    native = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    session = open_openvino(Kitchen().recipe(), tmp_path, asked, 1)
    assert session.precision == ("bf16" if native and asked != "f32" else "f32")
    assert ("kitchen runs in" in caplog.text) == (asked not in {"auto", session.precision})


def test_a_session_keeps_to_its_threads(tmp_path: Path) -> None:
    """Bound to a core, as OpenVINO would have it, several workers of one thread would share the first core."""
    session = open_openvino(Kitchen().recipe(), tmp_path, "f32", 1)
    assert session._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert session._compiled.get_property("ENABLE_CPU_PINNING") is False
    assert session._compiled.get_property("NUM_STREAMS") == 1


def pair() -> Any:
    """Two inputs, named against their order, and three outputs; one of which has the number of rows in its code."""
    first, second = keras.Input((7,), name="z"), keras.Input((4, 4, 2), name="a")
    doubled = keras.layers.Rescaling(2.0)(second)
    return keras.Model([first, second], [doubled, keras.layers.Rescaling(3.0)(first), keras.layers.Flatten()(doubled)])


@pytest.fixture(params=["openvino", "keras"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def open_by(engine: str, recipe: Recipe, settings: Settings) -> Session:
    return open_session(recipe, settings.model_copy(update={"engine": engine}))


def test_several_inputs_of_any_length(settings: Settings, engine: str) -> None:
    session = open_by(engine, Recipe("pair", pair, outputs=3, batched=True), settings)
    random = np.random.default_rng(1)
    for rows, images in ((5, 2), (1, 1), (9, 3), (0, 1), (5, 2)):
        first, second = random.random((rows, 7), np.float32), random.random((images, 4, 4, 2), np.float32)
        if engine == "keras" and rows != images:
            continue  # Keras itself does not take such
        outputs = session.run(first, second)
        expected = [second * 2, first * 3, (second * 2).reshape(images, -1)]
        for output, wanted in zip(outputs, expected, strict=True):
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, wanted, rtol=0.02)


def test_several_inputs_of_images(settings: Settings, engine: str) -> None:
    session = open_by(engine, Recipe("pair", pair, outputs=3), settings)
    first, second = BATCH.reshape(3, -1)[:, :7], BATCH[:, :4, :4, :2]
    outputs = session.run(first, second)
    expected = [second * 2, first * 3, (second * 2).reshape(3, -1)]
    for output, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, wanted, rtol=0.02)
    for inputs, message in (
        ((first,), "2 inputs, and 1 were given"),
        ((first, second, second), "2 inputs, and 3 were given"),
        ((first, second[:2]), r"\[2, 3\] images"),
        ((first[:0], second[:0]), r"\[0\] images"),
    ):
        with pytest.raises(ValueError, match=message):
            session.run(*inputs)


def test_the_same_network_in_both_forms(tmp_path: Path) -> None:
    """For one image and for any number of rows it is converted apart, under one key."""
    kitchen = Kitchen()
    for batched in (False, True, False, True):
        check(open_openvino(Recipe("kitchen", kitchen.build, 2, batched=batched), tmp_path, "f32", 1).run(BATCH))
    assert kitchen.built == 2


def test_tools_may_open_sessions(settings: Settings) -> None:
    opened = []

    def opener(recipe: Recipe, given: Settings) -> Session:
        opened.append(recipe.key)
        assert given is settings
        return KerasSession(recipe)

    with sessions_from(opener):
        assert open_session(Kitchen().recipe(), settings).engine == "keras-openvino"
    assert open_session(Kitchen().recipe(), settings).engine == "openvino"
    assert opened == ["kitchen"]


def test_keras_session() -> None:
    session = KerasSession(Kitchen().recipe())
    assert (session.engine, session.precision) == ("keras-openvino", "f32")
    outputs = session.run(BATCH)
    assert [output.shape for output in outputs] == [(3, 8, 8, 3), (3, 4, 4, 3)]
    np.testing.assert_allclose(outputs[0], BATCH * 2, rtol=0.02)  # this backend chooses its precision itself


def test_settings_choose_the_engine(settings: Settings) -> None:
    assert choose_engine(settings.model_copy(update={"engine": "auto"})) == "openvino"
    assert choose_engine(settings.model_copy(update={"engine": "keras"})) == "keras"
    session = open_session(Kitchen().recipe(), settings)
    assert session.engine == "openvino"
    check(session.run(BATCH))


def test_auto_without_openvino(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert choose_engine(settings.model_copy(update={"engine": "auto"})) == "keras"


def test_keras_with_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "tensorflow")
    with pytest.raises(RuntimeError, match="backend 'tensorflow' before the openvino engine"):
        select_backend("openvino", 1)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "0\n"}, 8),
    ],
)
def test_processors_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert available_cpus(tmp_path) == expected


@pytest.mark.parametrize(
    ("threads", "workers", "expected"),
    [(0, 1, (8, 7)), (0, 3, (2, 2)), (0, 20, (1, 1)), (0, 0, (8, 7)), (5, 2, (5, 5))],
)
def test_workers_share_the_processors(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    workers: int,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    shared = settings.model_copy(update={"threads": threads, "workers": workers})
    assert (threads_for(shared, tmp_path), threads_if_small(shared, tmp_path)) == expected


LOAD = """
import sys
from pathlib import Path
import numpy as np
from shared.settings import Settings
from shared.entries import DarknetEntry, WeightFile
from worker.models.darknet.detector import DarknetDetector

folder = Path(sys.argv[1])
settings = Settings(weights_dir=folder, engine_cache_dir=folder / "cache", engine="openvino")
for module in list(sys.modules):
    assert module.partition(".")[0] not in {"keras", "openvino", "tensorflow"}, module
files = {"config": "tiny.cfg", "weights": "tiny.weights", "classes": "one.names"}
files = {role: WeightFile(name=name) for role, name in files.items()}
entry = DarknetEntry(name="tiny", family="darknet", title="Tiny", **files)
sys.modules["jax"] = None  # as where a CPU worker runs; Keras imports it wherever it is
DarknetDetector.load(entry, settings).detect(np.zeros((9, 9, 3), np.uint8))
print(sorted(name for name in ("keras", "openvino", "tensorflow", "jax", "torch") if sys.modules.get(name)))
print(sys.modules["openvino_telemetry"])
"""


def test_what_a_worker_imports(tmp_path: Path) -> None:
    """The first start converts, by Keras on OpenVINO; the second needs OpenVINO alone. Neither reports anything."""
    text = tiny_cfg("")
    (tmp_path / "tiny.cfg").write_text(text)
    (tmp_path / "one.names").write_text("thing\n")
    write_random_weights(tmp_path / "tiny.weights", make_plan(parse_cfg(text)))
    environment = with_the_project()
    environment.pop("KERAS_BACKEND", None)
    for expected in ("['keras', 'openvino']\nNone\n", "['openvino']\nNone\n"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", LOAD, str(tmp_path)],
            capture_output=True, text=True, env=environment, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == expected
