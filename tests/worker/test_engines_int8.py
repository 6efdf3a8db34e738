"""Which precision is taken, and int8 networks: installed, found, and not used when they do not fit."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino
import pytest

from shared.settings import Settings
from worker.engines import Recipe, open_session
from worker.engines.openvino import OpenVinoSession, conversion_key, open_openvino, trace
from worker.engines.precision import Asked, Measured, Precision, Processor, choose_precision, this_processor
from worker.engines.quantised import Quantised, find_quantised, install_quantised, quantised_folder

BATCH = np.random.default_rng(0).random((2, 4, 4, 3), np.float32)
OLD = Processor("Old", bf16=False, int8=False)
NEW = Processor("New", bf16=True, int8=True)
DOTS = Processor("Dots", bf16=False, int8=True)
FASTER = Measured(str(OLD), {"f32": 2.0, "int8": 1.0})
SLOWER = Measured(str(DOTS), {"f32": 1.0, "int8": 2.0})
HALFWAY = Measured(str(NEW), {"f32": 3.0, "int8": 2.0, "bf16": 1.0})


@pytest.mark.parametrize(
    ("asked", "processor", "int8", "expected"),
    [
        ("f32", NEW, HALFWAY, "f32"),
        ("bf16", NEW, HALFWAY, "bf16"),
        ("bf16", OLD, FASTER, "f32"),
        ("int8", NEW, HALFWAY, "int8"),
        ("int8", OLD, SLOWER, "int8"),
        ("int8", NEW, None, "bf16"),
        ("int8", OLD, None, "f32"),
        ("auto", NEW, None, "bf16"),
        ("auto", OLD, None, "f32"),
        ("auto", DOTS, None, "f32"),
        ("auto", OLD, FASTER, "int8"),  # measured here
        ("auto", DOTS, SLOWER, "f32"),  # measured here
        ("auto", NEW, HALFWAY, "bf16"),  # faster than f32, slower than what would run
        ("auto", DOTS, FASTER, "int8"),  # measured elsewhere: instructions decide
        ("auto", OLD, SLOWER, "f32"),
        ("auto", NEW, Measured(str(NEW), {"f32": 1.0, "int8": 2.0}), "int8"),  # nothing to compare with
    ],
)
def test_choice_of_precision(asked: Asked, processor: Processor, int8: Measured | None, expected: Precision) -> None:
    assert choose_precision(asked, processor, int8) == expected


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n", False),
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx_vnni\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", True),
        ("processor\t: 0\nmodel name\t: avx_vnni\n", False),
        (None, False),
    ],
)
def test_what_a_processor_can_do(tmp_path: Path, cpuinfo: str | None, expected: bool) -> None:
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    processor = this_processor(openvino.Core(), tmp_path / "cpuinfo")
    assert processor.int8 == expected
    assert processor.name


def recipe(factor: float = 1.0, key: str = "kitchen", **changes: Any) -> Recipe:
    """A network that multiplies."""

    def build() -> Any:
        entry = keras.Input((4, 4, 3))
        return keras.Model(entry, [keras.layers.Rescaling(factor)(entry)])

    return Recipe(key, build, outputs=1, **changes)


def install(folder: Path, factor: float = 2.0, key: str = "kitchen", **changes: Any) -> Path:
    """What stands for the int8 form multiplies by something else, so that one sees which runs."""
    model = trace(recipe(factor).build(), batched=False)
    figures: dict[str, Any] = {
        "key": conversion_key(recipe(key=key)), "model": "m", "ap_before": 0.5, "ap_after": 0.4,
        "evaluation_images": 3, "calibration_images": 2, "processor": str(this_processor(openvino.Core())),
        "medians_ms": {"f32": 2.0, "bf16": 2.0, "int8": 1.0}, "made_with": {},
    }  # fmt: skip
    document, _ = install_quantised(folder, model, lambda content: Quantised(content=content, **figures | changes))
    return document


def opened(tmp_path: Path, asked: Asked = "int8", **changes: Any) -> tuple[OpenVinoSession, float]:
    """A session, and what its network multiplies by."""
    session = open_openvino(recipe(**changes), tmp_path / "cache", asked, 1, tmp_path / "int8")
    (output,) = session.run(BATCH)
    return session, round(float(np.median(output / BATCH)), 2)


@pytest.mark.parametrize(("asked", "factor"), [("int8", 2.0), ("auto", 2.0), ("f32", 1.0), ("bf16", 1.0)])
def test_an_installed_network_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: Asked, factor: float
) -> None:
    install(tmp_path / "int8")
    session, measured = opened(tmp_path, asked)
    assert (session.precision == "int8", measured) == (factor == 2, factor)
    if factor == 2:
        assert not caplog.text
        assert not (tmp_path / "cache").exists(), "the float network is not needed"


def test_auto_takes_what_is_faster(tmp_path: Path) -> None:
    install(tmp_path / "int8", medians_ms={"f32": 1.0, "bf16": 1.0, "int8": 2.0})
    assert opened(tmp_path, "auto")[1] == 1
    assert opened(tmp_path, "int8")[1] == 2


def test_an_exact_network_stays_float(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(tmp_path / "int8")
    session, factor = opened(tmp_path, exact=True)
    assert (session.precision, factor, caplog.text) == ("f32", 1, "")


@pytest.mark.parametrize("changes", [{"key": "other weights"}, {"batched": True}])
def test_a_stale_network_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]) -> None:
    install(tmp_path / "int8")
    session, factor = opened(tmp_path, **changes)
    assert session.precision != "int8"
    assert factor == 1
    assert "no int8 form of it is installed" in caplog.text


@pytest.mark.parametrize("damage", ["document", "of another", "weights", "model", "no weights", "not a network"])
def test_a_broken_network_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    document = install(tmp_path / "int8")
    (model,), (weights,) = (tmp_path / "int8").glob("*.xml"), (tmp_path / "int8").glob("*.bin")
    match damage:
        case "document":
            document.write_text("{")
        case "of another":
            document.write_text(document.read_text().replace(":kitchen", ":cellar"))
        case "weights":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "model":
            model.write_bytes(model.read_bytes().replace(b"Multiply", b"Multiplx"))
        case "no weights":
            weights.unlink()
        case _:
            # named by its content, and yet no network
            model.write_bytes(b"nothing")
            content = json.loads(document.read_text())["content"]
            import hashlib

            name = hashlib.sha256(b"nothing" + weights.read_bytes()).hexdigest()[:32]
            model.rename(model.with_name(f"{name}.xml"))
            weights.rename(weights.with_name(f"{name}.bin"))
            document.write_text(document.read_text().replace(content, name))
    session, factor = opened(tmp_path)
    assert session.precision != "int8"
    assert factor == 1
    assert "not used" in caplog.text


def test_a_new_one_takes_the_place_of_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "int8"
    first = install(folder)
    assert install(folder, 3.0) == first
    assert opened(tmp_path)[1] == 3
    assert len(list(folder.iterdir())) == 3
    install(folder, 3.0, ap_after=0.3)  # the same content again
    assert opened(tmp_path)[1] == 3
    found = find_quantised(folder, conversion_key(recipe()))
    assert found is not None
    assert found.ap_after == 0.3
    install(folder, 4.0, key="another")
    assert opened(tmp_path)[1] == 3
    assert len(list(folder.iterdir())) == 6


def test_a_failed_installation_leaves_what_was_there(tmp_path: Path) -> None:
    install(tmp_path / "int8")
    before = {path: path.read_bytes() for path in (tmp_path / "int8").iterdir()}
    with pytest.raises(ValueError, match="ap_after"):
        install(tmp_path / "int8", 3.0, ap_after=7)
    assert {path: path.read_bytes() for path in (tmp_path / "int8").iterdir()} == before


def test_a_worker_looks_beside_the_weights(settings: Settings) -> None:
    int8 = settings.model_copy(update={"precision": "int8"})
    assert quantised_folder(settings) == settings.weights_dir / "int8"
    install(settings.weights_dir / "int8")
    assert open_session(recipe(), int8).precision == "int8"
    assert open_session(recipe(), settings).precision == "f32"
