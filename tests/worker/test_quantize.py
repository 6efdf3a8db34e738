"""The command that makes int8 models: with real weights, real photos and NNCF."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import openvino
import pytest

from shared.settings import ROOT, Settings
from tests.worker.environments import with_the_project
from worker.engines.openvino import trace
from worker.engines.quantised import Quantised, quantised_folder
from worker.evaluate import evaluate
from worker.models.base import DetectionModel
from worker.models.registry import load_model
from worker.quantization import last_weighted
from worker.quantize import calibration_photos, main

NAME = "yolo-fastest-1.1"


@pytest.fixture(scope="module")
def dataset(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of COCO with many things in them."""
    folder = tmp_path_factory.mktemp("coco8")
    (folder / "images").mkdir()
    document = json.loads((data_dir / "coco128" / "instances.json").read_text())
    counts = {image["id"]: 0 for image in document["images"]}
    for annotation in document["annotations"]:
        counts[annotation["image_id"]] += 1
    chosen = set(sorted(counts, key=lambda identity: -counts[identity])[:8])
    document["images"] = [image for image in document["images"] if image["id"] in chosen]
    document["annotations"] = [each for each in document["annotations"] if each["image_id"] in chosen]
    for image in document["images"]:
        shutil.copy(data_dir / "coco128" / "images" / image["file_name"], folder / "images")
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def installed(settings: Settings, data_dir: Path) -> Settings:
    settings.weights_dir.mkdir()
    for name in (f"{NAME}.cfg", f"{NAME}.weights", "coco.names"):
        shutil.copy(data_dir / "weights" / name, settings.weights_dir)
    return settings


def load(settings: Settings, precision: str) -> DetectionModel:
    from shared.catalog import load_catalog

    entry = load_catalog(settings.catalog)[NAME]
    model = load_model(entry, settings.model_copy(update={"precision": precision}))
    assert isinstance(model, DetectionModel)
    return model


def test_the_whole_way(installed: Settings, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", NAME, "--data", str(dataset), "--calibration", "4", "--max-loss", "100"]
    assert main(arguments, installed) == 0
    output = capsys.readouterr().out
    assert f"{NAME}: 8 images to measure on, 4 to calibrate on" in output
    assert not sys.modules.get("openvino_telemetry")  # NNCF had nothing to report by

    (document,) = quantised_folder(installed).glob("*.json")
    assert f"installed: {document}" in output
    found = Quantised.model_validate_json(document.read_bytes())
    floating, quantised = load(installed, "f32"), load(installed, "int8")
    assert (floating.info().precision, quantised.info().precision) == ("f32", "int8")
    assert floating.info().weights_sha256 in found.key
    assert (found.model, found.evaluation_images, found.calibration_images) == (NAME, 8, 4)
    assert min(found.medians_ms.values()) > 0

    # what it says is what the installed model does
    before, after = (evaluate(model, dataset).metrics["AP"] for model in (floating, quantised))
    assert found.ap_before == before > 0.05
    assert found.ap_after == after > 0.05
    printed = [float(line) for line in re.findall(r"AP +([\d.]+)  AP50", output)]
    assert printed == [pytest.approx(100 * before, abs=0.01), pytest.approx(100 * after, abs=0.01)]

    # and it does compute with integers
    runtime = quantised._session._compiled.get_runtime_model()  # type: ignore[attr-defined]
    kinds = [node.get_rt_info()["runtimePrecision"].astype(str) for node in runtime.get_ops() if is_convolution(node)]
    assert sum(kind in {"i8", "u8"} for kind in kinds) > 0.8 * len(kinds) > 0


def is_convolution(node: Any) -> bool:
    return bool(node.get_rt_info()["layerType"].astype(str) == "Convolution")


def test_what_loses_too_much_is_refused(installed: Settings, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", NAME, "--data", str(dataset), "--calibration", "2", "--max-loss", "-100"]
    assert main(arguments, installed) == 1
    output = capsys.readouterr().out
    assert "int8, all layers" in output
    assert "int8, the last layers stay in float32" in output
    assert "not installed: it loses more than -100 points" in output
    assert not quantised_folder(installed).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{dataset}", "--model", "nothing"], "no model called 'nothing'"),
        (["--data", "{dataset}", "--model", "yolov3"], "yolov3 is not installed"),
        (["--data", "{tmp}"], "no images to calibrate on"),
        (["--data", "{tmp}", "--photos", "{dataset}"], "not in COCO's format"),
        (["--data", "{dataset}", "--calibration", "0"], "no images to calibrate on"),
    ],
)
def test_bad_arguments(
    installed: Settings,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    filled = [each.format(dataset=dataset, tmp=tmp_path) for each in arguments]
    given = filled if "--model" in filled else ["--model", NAME, *filled]
    assert main(given, installed) == 1
    assert message in capsys.readouterr().err


def test_without_nncf(
    installed: Settings, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["--data", str(dataset)], installed) == 1
    assert "dropsight[quantize]" in capsys.readouterr().err


def test_photos_to_calibrate_on(tmp_path: Path) -> None:
    for index in range(10):
        (tmp_path / f"{index}.JPG").touch()
    (tmp_path / "notes.txt").touch()
    assert [path.stem for path in calibration_photos(tmp_path, 4)] == ["0", "2", "5", "7"]
    assert len(calibration_photos(tmp_path, 100)) == 10


def test_last_layers(settings: Settings) -> None:
    """Of two outputs, one of which is a step on the way to the other."""
    entry = keras.Input((8, 8, 3))
    first = keras.layers.Conv2D(4, 3, name="first")(entry)
    second = keras.layers.Conv2D(4, 3, name="second")(keras.layers.LeakyReLU()(first))
    third = keras.layers.Conv2D(4, 1, name="third")(second)
    model = trace(keras.Model(entry, [keras.layers.ReLU()(second), third]), batched=False)
    convolutions = [node.get_friendly_name() for node in model.get_ordered_ops() if is_weighted(node)]
    assert len(convolutions) == 3
    assert set(last_weighted(model)) == set(convolutions[1:])


def is_weighted(node: openvino.Node) -> bool:
    return bool(node.get_type_name() == "Convolution")


def test_a_worker_does_without_nncf() -> None:
    """The command itself neither imports it nor OpenVINO before it has chosen the engine."""
    code = "import sys, worker.quantize; print(sorted({'nncf', 'openvino', 'keras'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=ROOT, env=with_the_project(), timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
