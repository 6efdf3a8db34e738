"""Makes models as people save them, with what TensorFlow computes of them: `python -m ... FOLDER NAME...`.

Of a model NAME it writes the files to load and NAME.npz: `image`, float32 (1, rows, columns, 3) as the network takes
it; `scores`, the output for it, as probabilities; `class_id` and `cam`, Grad-CAM of that class by automatic
differentiation, before any enlargement and normalisation.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers

DISHES = 12


def randomise(model: Any) -> None:
    """Batch norms as after training: none of them does nothing."""
    rng = np.random.default_rng(3)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape[0]
            ranges = ((0.5, 1.5), (-0.5, 0.5), (-0.3, 0.3), (0.5, 1.5))
            layer.set_weights([rng.uniform(*each, size).astype(np.float32) for each in ranges])


def spread(model: Any, image: np.ndarray[Any, Any]) -> None:
    """Enlarge the last layer's kernel until the classes differ."""
    last = model.layers[-1]
    activation, last.activation = last.activation, keras.activations.linear
    deviation = float(np.std(np.asarray(model(image))))
    last.activation = activation
    kernel, *bias = last.get_weights()
    last.set_weights([kernel * (1.5 / max(deviation, 1e-6) if kernel.shape[1] > 1 else 1), *bias])


def grad_cam(before: Any, after: list[Any], image: np.ndarray[Any, Any], class_id: int) -> np.ndarray[Any, Any]:
    """Selvaraju et al. 2017 by a gradient tape. `before` gives the maps, the layers `after` follow."""
    maps = tf.convert_to_tensor(before(image, training=False))
    with tf.GradientTape() as tape:
        tape.watch(maps)
        value = maps
        for layer in after[:-1]:
            value = layer(value, training=False)
        last = after[-1]
        logits = tf.matmul(value, last.kernel) + last.bias
        logit = logits[0, class_id] if logits.shape[1] > 1 else logits[0, 0] * (1 if class_id else -1)
    weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(0, 1, 2))
    return np.asarray(np.maximum(np.asarray(maps)[0] @ np.asarray(weights), 0))


def write(folder: Path, name: str, model: Any, before: Any, after: list[Any], image: np.ndarray[Any, Any]) -> None:
    scores = np.asarray(model(image, training=False))[0]
    if model.layers[-1].activation is keras.activations.linear:
        scores = np.asarray(tf.nn.softmax(scores))
    class_id = int(np.argsort(scores)[-2]) if len(scores) > 1 else 0
    cam = grad_cam(before, after, image, class_id)
    np.savez(folder / f"{name}.npz", image=image, scores=scores, class_id=class_id, cam=cam)


def dishes(folder: Path, image: np.ndarray[Any, Any]) -> None:
    """Transfer learning as in Keras' own guide: augmentation, a network within the network, dropout, softmax."""
    base = keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None)
    entry = keras.Input((96, 96, 3))
    x = layers.RandomFlip("horizontal")(entry)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x, training=False)
    pool, drop, last = layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(DISHES, "softmax")
    model = keras.Model(entry, last(drop(pool(x))))
    randomise(base)
    spread(model, image * 255)
    model.save(folder / "dishes.keras")
    model.save(folder / "dishes.h5")
    # what Keras 2 writes of a depthwise convolution
    with h5py.File(folder / "dishes.h5", "r+") as file:
        text = file.attrs["model_config"]
        config = json.loads(text, object_hook=with_groups)
        assert json.dumps(config) != text
        file.attrs["model_config"] = json.dumps(config)
    write(folder, "dishes", model, keras.Model(entry, x), [pool, drop, last], image * 255)


def with_groups(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("class_name") == "DepthwiseConv2D":
        value["config"]["groups"] = 1
    return value


def flat(folder: Path, image: np.ndarray[Any, Any]) -> None:
    """A sequence with a head that is not linear, and logits."""
    body = [
        *(layers.Conv2D(12, 5, strides=3, use_bias=False), layers.BatchNormalization(), layers.ReLU()),
        *(layers.Conv2D(20, 3, strides=2, activation="swish"), layers.MaxPooling2D()),
    ]
    head = [layers.Flatten(), layers.Dense(24, "tanh"), layers.Dense(5)]
    model = keras.Sequential([keras.Input((96, 96, 3)), *body, *head])
    randomise(model)
    spread(model, image)
    model.save(folder / "flat.keras")
    write(folder, "flat", model, keras.Sequential([keras.Input((96, 96, 3)), *body]), head, image)


def binary(folder: Path, image: np.ndarray[Any, Any]) -> None:
    """A network within a sequence whose own last layer is the pooling; a hidden layer; a single sigmoid."""
    entry = keras.Input((96, 96, 3))
    maps = layers.Conv2D(16, 3, strides=4, activation="relu")(layers.SeparableConv2D(8, 3, padding="same")(entry))
    pool, hidden, last = layers.GlobalAveragePooling2D(), layers.Dense(9, "relu"), layers.Dense(1, "sigmoid")
    base = keras.Model(entry, pool(maps))
    model = keras.Sequential([keras.Input((96, 96, 3)), base, hidden, last])
    model.save(folder / "binary.h5")
    write(folder, "binary", model, keras.Model(entry, maps), [pool, hidden, last], image)


def application(name: str, folder: Path, image: np.ndarray[Any, Any]) -> None:
    """The weights alone, in the layout of the published files."""
    build = {"resnet50": keras.applications.ResNet50, "nasnet_mobile": keras.applications.NASNetMobile}
    model = build[name](weights=None, classes=10, input_shape=(96, 96, 3))
    randomise(model)
    spread(model, image)
    model.save(folder / "whole.h5")
    with h5py.File(folder / "whole.h5") as whole, h5py.File(folder / f"{name}.h5", "w") as file:
        group = whole["model_weights"]
        for key in group:
            group.copy(key, file)
        for key, value in group.attrs.items():
            file.attrs[key] = value
    pool, last = model.layers[-2:]
    write(folder, name, model, keras.Model(model.inputs, model.layers[-3].output), [pool, last], image)


def dangerous(folder: Path) -> None:
    """Models that write a file when they are loaded or run."""
    entry = keras.Input((96, 96, 3))

    def harm(x: Any) -> Any:
        from pathlib import Path

        Path("harm-was-done").touch()
        return x

    x = layers.Lambda(lambda x: (__import__("pathlib").Path("harm-was-done").touch(), x)[1], output_shape=(96, 96, 3))(
        entry
    )
    keras.Model(entry, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))).save(folder / "lambda.keras")
    model = keras.Model(entry, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    model.save(folder / "lambda.h5")
    inner = keras.Sequential([keras.Input((96, 96, 3)), layers.Lambda(harm, output_shape=(96, 96, 3))])
    keras.Sequential([keras.Input((96, 96, 3)), inner, layers.Flatten(), layers.Dense(2)]).save(folder / "inner.keras")

    @keras.saving.register_keras_serializable("mine")
    class Mine(layers.Layer):  # type: ignore[misc]
        pass

    keras.Sequential([keras.Input((96, 96, 3)), Mine(), layers.Flatten(), layers.Dense(2)]).save(folder / "own.keras")


def main(folder: Path, names: list[str]) -> None:
    keras.utils.set_random_seed(5)
    image = np.random.default_rng(1).uniform(0, 1, (1, 96, 96, 3)).astype(np.float32)
    for name in names:
        match name:
            case "dishes":
                dishes(folder, image)
            case "flat":
                flat(folder, image)
            case "binary":
                binary(folder, image)
            case "dangerous":
                dangerous(folder)
            case _:
                application(name, folder, image * 2 - 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
