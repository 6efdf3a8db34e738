"""The Keras networks of classifiers, and how one is taken apart for Grad-CAM.

Imports Keras: choose the backend before (`worker.engines.select_backend`).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import keras
from keras import layers

from worker.engines import KerasModel
from worker.models.classifiers.errors import ClassifierError
from worker.models.classifiers.folded import set_folded_weights
from worker.models.classifiers.old_files import load_old
from worker.models.classifiers.saved import check_saved

#: a `keras.KerasTensor` and a `keras.Layer` (or `keras.Operation`); Keras comes without types
Tensor: TypeAlias = Any
Layer: TypeAlias = Any

Application = Literal["resnet50", "mobilenet_v2", "nasnet_mobile"]
Output = Literal["auto", "logits", "probabilities"]

_APPLICATIONS: Final[dict[Application, Callable[..., KerasModel]]] = {
    "resnet50": keras.applications.ResNet50,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "nasnet_mobile": keras.applications.NASNetMobile,
}
#: last layers that give numbers from minus to plus infinity, if they have no activation
_LINEAR: Final = (layers.Dense, layers.Conv2D, layers.Activation, layers.Flatten, layers.Reshape, layers.Identity)
_POOLING: Final = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.GlobalAveragePooling1D)


def build_application(name: Application, weights: Path, image_size: tuple[int, int], classes: int) -> KerasModel:
    """A network of `keras.applications` with the weights of a file; nothing is downloaded.

    Args:
        name: which.
        weights: `.h5` as published for it or as saved by `save_weights`, or, of MobileNetV2, `.npz` with batch norms
            folded (`worker.models.classifiers.folded`).
        image_size: height and width.
        classes: how many it tells apart.

    Raises:
        ClassifierError: the weights are of another network.
        OSError: the file cannot be read.
    """
    model = _APPLICATIONS[name](weights=None, classes=classes, input_shape=(*image_size, 3))
    if weights.suffix == ".npz":
        set_folded_weights(model, weights)
        return model
    try:
        model.load_weights(weights)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ClassifierError(
            f"{weights.name} does not fit a {name} of {classes} classes: {_first_line(error)}"
        ) from error
    return model


def load_saved(path: Path) -> KerasModel:
    """A model as its makers saved it: `.keras` of Keras 3, or `.h5` of Keras 2 or 3.

    Raises:
        ClassifierError: it is broken, or has anything in it that is not on the list of `check_saved`.
        OSError: it cannot be read.
    """
    check_saved(path)
    try:
        if path.suffix == ".keras":
            return keras.saving.load_model(path, compile=False, safe_mode=True)
        return load_old(path)
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        raise ClassifierError(f"{path.name} cannot be loaded: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


@dataclass(frozen=True, slots=True)
class Classifier:
    """A network as it is run.

    Args:
        body: in: float32 (batch, height, width, 3). Out: the probabilities (batch, classes), or (batch, 1) of one
            sigmoid; the last feature maps (batch, rows, columns, channels) with more than one place; what the head
            takes. If there are no such maps, or the classes do not depend on them alone, the last two are the
            probabilities once more.
        head: what follows the feature maps. In: the maps, or their means (batch, channels) if it begins with those.
            Out: the logits. None: there are no such maps.
    """

    body: KerasModel
    head: KerasModel | None


def take_apart(model: KerasModel, image_size: tuple[int, int], output: Output = "auto") -> Classifier:
    """Find the feature maps in a classifier, and what its output means.

    Args:
        model: one input (batch, height, width, 3), one output (batch, classes).
        image_size: height and width to build it for.
        output: "logits": a softmax (or of a single value the sigmoid) is added; "probabilities": as it is; "auto":
            by the activation of the last layer.

    Raises:
        ClassifierError: it has other inputs or outputs, or it is not clear what its output is.
    """
    image = keras.Input((*image_size, 3), dtype="float32", name="image")
    trail: list[_Step] = []
    try:
        result = _follow(model, image, trail)
    except (ValueError, TypeError) as error:
        raise ClassifierError(f"the model does not take images of {image_size}: {_first_line(error)}") from error
    if isinstance(result, list | tuple) or len(result.shape) != 2 or result.shape[-1] is None:
        raise ClassifierError("the model must have one output, with a number for each class")
    ending = _ending(trail[-1].layer) if output == "auto" else output
    probabilities = result
    if ending == "logits":
        activation = "sigmoid" if result.shape[-1] == 1 else "softmax"
        probabilities = layers.Activation(activation, name="probabilities", dtype="float32")(result)
    maps, start, head = _split(trail, result) or (probabilities, probabilities, None)
    # each of them an output of its own, also where they are the same
    outputs = [probabilities, layers.Identity(name="maps")(maps), layers.Identity(name="start")(start)]
    return Classifier(keras.Model(image, outputs, name="classifier"), head)


@dataclass(frozen=True, slots=True)
class _Step:
    layer: Layer
    before: Tensor
    after: Tensor


def _follow(model: KerasModel, tensor: Tensor, trail: list[_Step]) -> Tensor:
    """Apply a model layer by layer, also those within its layers, and note them all."""

    def call(layer: Layer, *inputs: Tensor, **options: object) -> Tensor:
        if isinstance(layer, keras.Model):
            return _follow(layer, inputs[0], trail)
        if isinstance(layer, keras.Layer) and "training" in inspect.signature(layer.call).parameters:
            # said here for good: augmenting layers take their silence for yes
            options["training"] = False
        after = layer(*inputs, **options)
        trail.append(_Step(layer, inputs[0] if inputs else None, after))
        return after

    if isinstance(model, keras.Sequential):
        for layer in model.layers:
            tensor = call(layer, tensor)
        return tensor
    if len(model.inputs) != 1:
        raise ClassifierError(f"the model has {len(model.inputs)} inputs; one is wanted, of images")
    # what `keras.models.clone_model` does, but that makes a model of the part that no longer belongs to the whole
    return model._run_through_graph(tensor, operation_fn=lambda layer: layer, call_fn=call)  # noqa: SLF001


def _ending(last: Layer) -> Literal["logits", "probabilities"]:
    activation = getattr(getattr(last, "activation", None), "__name__", None)
    if isinstance(last, layers.Softmax) or activation in {"softmax", "sigmoid"}:
        return "probabilities"
    if isinstance(last, _POOLING) or (isinstance(last, _LINEAR) and activation in {None, "linear"}):
        return "logits"
    raise ClassifierError(
        f"it is not clear what the last layer, a {type(last).__name__}, gives: say output = "
        '"probabilities" or "logits" in the catalogue'
    )


def _split(trail: list[_Step], result: Tensor) -> tuple[Tensor, Tensor, KerasModel] | None:
    """The last feature maps that alone decide about the output, what of them the head takes, and the head."""
    for step, following in zip(reversed(trail[:-1]), reversed(trail[1:]), strict=True):
        shape: tuple[int | None, ...] = getattr(step.after, "shape", ())
        if len(shape) != 4 or (shape[1] or 1) * (shape[2] or 1) == 1:
            continue
        pooled = isinstance(following.layer, layers.GlobalAveragePooling2D) and not following.layer.keepdims
        start = following.after if pooled else step.after
        try:
            head = keras.Model(start, _without_activation(trail[-1], result), name="head")
        except ValueError:  # there is a way around it
            continue
        return step.after, start, head
    return None


def _without_activation(last: _Step, result: Tensor) -> Tensor:
    """The logits: what the last layer gives but for its softmax or sigmoid."""
    if isinstance(last.layer, layers.Softmax):
        return last.before
    if isinstance(last.layer, layers.Activation):
        return last.before
    if hasattr(last.layer, "activation"):
        linear = type(last.layer).from_config({**last.layer.get_config(), "activation": "linear", "name": "logits"})
        logits = linear(last.before)
        linear.set_weights(last.layer.get_weights())
        return logits
    return result
