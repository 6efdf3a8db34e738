"""A model file cannot run code."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from shared.entries import ClassifierEntry
from shared.errors import PublicError
from shared.settings import Settings
from tests.worker.classifiers.conftest import Made, classifier_entry
from worker.models.classifiers.errors import ClassifierError
from worker.models.classifiers.saved import check_saved
from worker.models.errors import ModelFileError
from worker.models.registry import load_model


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "module": "keras", "config": {"layers": list(layers)}, "registered_name": None}


def write_keras(path: Path, config: object) -> Path:
    path = path.with_suffix(".keras")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return path


def write_h5(path: Path, config: object) -> Path:
    path = path.with_suffix(".h5")
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    return path


DENSE = {"class_name": "Dense", "module": "keras.layers", "config": {"units": 3, "activation": "relu"}}


@pytest.mark.parametrize("write", [write_keras, write_h5])
def test_layers_that_only_compute(tmp_path: Path, write: Callable[[Path, object], Path]) -> None:
    check_saved(write(tmp_path / "model", sequential(DENSE, {"class_name": "Dropout", "config": {}})))


@pytest.mark.parametrize("write", [write_keras, write_h5])
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"class_name": "Lambda", "module": "keras.layers", "config": {}}, "'Lambda', which is not on the list"),
        ({"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {}}, "run no code"),
        ({"class_name": "TFSMLayer", "config": {"filepath": "/x"}}, "run no code"),
        ({"class_name": "function", "config": "system", "module": "os"}, "run no code"),
        (DENSE | {"module": "mine.layers"}, "of 'mine.layers', which is not Keras"),
        (DENSE | {"module": "keras_evil"}, "of 'keras_evil', which is not Keras"),
        (DENSE | {"registered_name": "mine>Dense"}, "'mine>Dense' of its own"),
        (DENSE | {"config": {"activation": {"class_name": "__lambda__", "config": {}}}}, "'__lambda__'"),
        (DENSE | {"build_config": [{"class_name": "Lambda"}]}, "'Lambda'"),
        (sequential(sequential({"class_name": "Lambda"})), "'Lambda'"),
        ({"class_name": ["Dense"], "config": {}}, "run no code"),
        (DENSE | {"registered_name": ["mine>Dense"]}, "of its own"),
        ({"class_name": "TFOpLambda", "config": {}}, "name the preprocessing in the catalogue"),
    ],
)
def test_what_could_run_code(
    tmp_path: Path, write: Callable[[Path, object], Path], layer: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClassifierError, match=message):
        check_saved(write(tmp_path / "model", sequential(DENSE, layer)))


@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_a_file_of_both_kinds(tmp_path: Path, ending: str) -> None:
    """What is looked at is what Keras would load, also if the other part of the file is harmless."""
    harmful, harmless = sequential({"class_name": "Lambda"}), sequential(DENSE)
    h5, archive = (harmful, harmless) if ending == ".h5" else (harmless, harmful)
    path = tmp_path / f"both{ending}"
    path.write_bytes(write_h5(tmp_path / "a", h5).read_bytes() + write_keras(tmp_path / "a", archive).read_bytes())
    assert zipfile.is_zipfile(path)
    assert h5py.is_hdf5(path)
    with pytest.raises(ClassifierError, match="'Lambda'"):
        check_saved(path)
    for kind, loads in ((".h5", ending == ".keras"), (".keras", ending == ".h5")):
        if loads:
            check_saved(path.rename(path.with_suffix(kind)))


def test_how_it_was_trained_does_not_matter(tmp_path: Path) -> None:
    """It is never loaded, so a loss of one's own is no reason to refuse a model."""
    config = sequential(DENSE) | {"compile_config": {"loss": {"class_name": "function", "module": "mine"}}}
    check_saved(write_keras(tmp_path / "model.keras", config))


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 half a zip", b"\x89HDF\r\n\x1a\n half"])
def test_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises((ClassifierError, OSError)):
        check_saved(tmp_path / "a")


def test_files_without_a_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(ClassifierError, match=r"no config\.json"):
        check_saved(tmp_path / "a.keras")
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    with pytest.raises(ClassifierError, match="weights only"):
        check_saved(tmp_path / "a.h5")
    write_keras(tmp_path / "b.keras", "").write_bytes((tmp_path / "a.keras").read_bytes()[:-30])
    with pytest.raises(ClassifierError):
        check_saved(tmp_path / "b.keras")


@pytest.mark.parametrize("name", ["lambda.keras", "lambda.h5", "inner.keras", "own.keras"])
def test_real_models_with_code(
    made: Callable[..., Made], settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made("dangerous")
    monkeypatch.chdir(tmp_path)  # the harm is a file in the working folder
    with pytest.raises(ModelFileError, match="models run no code here"):
        folder.load(name, 2, settings)
    own = settings.model_copy(update={"weights_dir": folder.folder})
    with pytest.raises(PublicError) as caught:
        load_model(classifier_entry(name, "2.json"), own)
    assert caught.value.code == "model_broken"
    assert not list(tmp_path.rglob("harm-was-done"))


@pytest.mark.parametrize("missing", ["image_size", "preprocessing"])
def test_a_saved_model_says_how_it_is_fed(missing: str) -> None:
    with pytest.raises(ValueError, match="needs image_size and preprocessing"):
        ClassifierEntry.model_validate({**classifier_entry("a.keras").model_dump(), missing: None})
    assert isinstance(classifier_entry("a.h5", architecture="resnet50"), ClassifierEntry)
