"""Models that TensorFlow made, run without it."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from shared.errors import BadInputError
from shared.jobs import JobOptions
from shared.settings import Settings
from tests.worker.classifiers.conftest import Made, classifier_entry
from worker.models.base import Placement, Prepared
from worker.models.classifiers.errors import ClassifierError
from worker.models.classifiers.model import ClassifierModel
from worker.models.errors import ModelFileError

MODELS = [("dishes.keras", 12), ("dishes.h5", 12), ("flat.keras", 5), ("binary.h5", 2)]


def run(model: ClassifierModel, expected: dict[str, np.ndarray]) -> tuple[Prepared, list[np.ndarray]]:
    prepared = Prepared(expected["image"], Placement((96, 96), 0, 0, 96, 96))
    return prepared, list(model.infer(prepared))


@pytest.mark.parametrize(("name", "classes"), MODELS)
def test_a_saved_model(made: Callable[..., Made], settings: Settings, name: str, classes: int) -> None:
    """The same probabilities as in TensorFlow, and the same Grad-CAM without gradients."""
    folder = made("dishes", "flat", "binary")
    expected = folder.expected(name.split(".")[0])
    model = folder.load(name, classes, settings)
    prepared, outputs = run(model, expected)
    scores = model.understand(outputs, prepared, JobOptions()).scores
    wanted = expected["scores"]
    if len(wanted) == 1:
        wanted = np.asarray([1 - wanted[0], wanted[0]])
    assert wanted.max() - wanted.min() > 0.05
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert scores.sum() == pytest.approx(1, abs=1e-5)
    cam = expected["cam"]
    assert cam.max() > 0
    assert cam.min() < 0.95 * cam.max()
    prepared = Prepared(prepared.batch, Placement(cam.shape, 0, 0, 96, 96))  # in the size of the maps: not enlarged
    found = model.explain(outputs, prepared, int(expected["class_id"]))
    np.testing.assert_allclose(found, cam / cam.max(), atol=2e-3)


@pytest.mark.parametrize("name", ["resnet50", "nasnet_mobile"])
def test_weights_in_the_layout_of_the_published_files(made: Callable[..., Made], settings: Settings, name: str) -> None:
    folder = made(name)
    expected = folder.expected(name)
    model = folder.load(f"{name}.h5", 10, settings, architecture=name, image_size=(96, 96))
    assert model.info().family == "classifier"
    prepared, outputs = run(model, expected)
    assert np.ptp(expected["scores"]) > 0.05
    np.testing.assert_allclose(outputs[0][0], expected["scores"], atol=1e-4)
    cam = expected["cam"]
    prepared = Prepared(prepared.batch, Placement(cam.shape, 0, 0, 96, 96))
    found = model.explain(outputs, prepared, int(expected["class_id"]))
    np.testing.assert_allclose(found, cam / cam.max(), atol=5e-3)


def test_weights_of_another_network(made: Callable[..., Made], settings: Settings) -> None:
    folder = made("resnet50")
    for name, classes in (("mobilenet_v2", 10), ("resnet50", 11)):
        with pytest.raises(ClassifierError, match=f"does not fit a {name} of {classes} classes"):
            folder.load("resnet50.h5", classes, settings, architecture=name, image_size=(96, 96))


def test_what_the_output_means_can_be_said(made: Callable[..., Made], settings: Settings) -> None:
    folder = made("dishes", "flat", "binary")
    expected = folder.expected("flat")["scores"]
    model = folder.load("flat.keras", 5, settings, output="probabilities")
    _, outputs = run(model, folder.expected("flat"))
    logits = outputs[0][0].astype(np.float64)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), expected, atol=1e-5)
    model = folder.load("dishes.keras", 12, settings, output="logits")
    _, outputs = run(model, folder.expected("dishes"))
    scores = folder.expected("dishes")["scores"].astype(np.float64)
    np.testing.assert_allclose(outputs[0][0], np.exp(scores) / np.exp(scores).sum(), atol=1e-5)


def test_classes_and_sizes_must_fit(made: Callable[..., Made], settings: Settings) -> None:
    folder = made("dishes", "flat", "binary")
    with pytest.raises(ClassifierError, match=r"7\.json names 7 classes, the network has 12"):
        folder.load("dishes.keras", 7, settings)
    with pytest.raises(ClassifierError, match="the network has 2"):
        folder.load("binary.h5", 3, settings)
    with pytest.raises(ClassifierError, match="does not take images of"):
        folder.load("flat.keras", 5, settings, image_size=(64, 64))
    entry = classifier_entry("flat.keras", "5.json", sha256="5" * 64)
    with pytest.raises(ModelFileError, match="another sha256"):
        ClassifierModel.load(entry, settings.model_copy(update={"weights_dir": folder.folder}))


def test_a_model_without_feature_maps(settings: Settings) -> None:
    """Its classes are told, and that they cannot be explained."""
    import keras

    settings.weights_dir.mkdir()
    layers = [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    keras.Sequential(layers).save(settings.weights_dir / "a.keras")
    (settings.weights_dir / "classes.json").write_text(json.dumps(["a", "b"]))
    model = ClassifierModel.load(classifier_entry("a.keras", image_size=(8, 8)), settings)
    prepared = model.preprocess(np.full((20, 30, 3), 200, np.uint8))
    outputs = model.infer(prepared)
    assert model.understand(outputs, prepared, JobOptions()).scores.sum() == pytest.approx(1, abs=1e-5)
    with pytest.raises(BadInputError) as caught:
        model.explain(outputs, prepared, 0)
    assert caught.value.code == "invalid_option"


@pytest.mark.parametrize("content", ["weights", "damaged"])
def test_a_broken_file(made: Callable[..., Made], settings: Settings, content: str, tmp_path: Path) -> None:
    folder = made("dishes", "flat", "binary")
    path = folder.folder / "broken.h5"
    path.write_bytes((folder.folder / "binary.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        if content == "weights":
            del file["model_weights"]
        else:
            file.attrs["model_config"] = file.attrs["model_config"].replace('"filters": 16', '"filters": 17')
    with pytest.raises(ClassifierError, match=r"broken\.h5 cannot be loaded"):
        folder.load("broken.h5", 2, settings)
