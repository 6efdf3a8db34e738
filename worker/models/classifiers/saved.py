"""Is a saved Keras model made of nothing but Keras' own layers?

Looked at before Keras opens the file. Keras' safe mode refuses a `Lambda`; here whatever is not listed is refused: a
list of what is harmless cannot forget a way of running code.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py

from worker.models.classifiers.errors import ClassifierError

#: bytes; the architecture of NASNet-Large takes 1 MB
_LARGEST_CONFIG: Final = 64 << 20

#: every class that a file may name, in groups: models; convolutions and dense layers; pooling and shapes; merging;
#: normalisation; activations; attention; what only training knows; initialisers, regularisers, constraints and
#: precision; arithmetic that Keras 3 writes down, such as `x / 127.5 - 1`; a tensor's place in the graph
_ALLOWED_NAMES: Final = """
Model Functional Sequential InputLayer InputSpec
Conv1D Conv2D Conv2DTranspose DepthwiseConv2D SeparableConv2D Dense EinsumDense Embedding
AveragePooling2D MaxPooling2D GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling2D AdaptiveAveragePooling2D
Flatten Reshape Permute RepeatVector ZeroPadding2D Cropping2D UpSampling2D
Add Average Concatenate Dot Maximum Minimum Multiply Subtract
BatchNormalization GroupNormalization LayerNormalization Normalization RMSNormalization UnitNormalization Rescaling
Activation ELU GELU HardSigmoid HardSwish LeakyReLU PReLU ReLU Sigmoid Softmax Swish ThresholdedReLU
Attention MultiHeadAttention AdditiveAttention
ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout2D AutoContrast CenterCrop
RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomErasing RandomFlip
RandomGrayscale RandomHeight RandomHue RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
RandomTranslation RandomWidth RandomZoom Resizing
Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal RandomNormal
RandomUniform TruncatedNormal VarianceScaling Zeros L1 L2 L1L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg UnitNorm
DTypePolicy Policy
Divide TrueDivide Negative Mean
__keras_tensor__ __tensor__ __numpy__
"""
_ALLOWED: Final = frozenset(_ALLOWED_NAMES.split())
#: the packages of those classes; Keras 2 names none
_PACKAGES: Final = ("keras", "keras.", "tf_keras", "tensorflow.keras", "builtins")


def check_saved(path: Path) -> None:
    """Refuse a model file that could do anything but compute.

    Args:
        path: a `.keras` file of Keras 3, or the `.h5` of a whole model.

    Raises:
        ClassifierError: it is not such a file, or names a class that is not Keras' or may run code, such as `Lambda`.
        OSError: it cannot be read.
    """
    for config in _objects(_read_config(path)):
        name = config["class_name"]
        package = config.get("module")
        if not isinstance(name, str) or name not in _ALLOWED:
            raise ClassifierError(f"{path.name} has {_reason(name)}")
        if package is not None and not (package in _PACKAGES or str(package).startswith("keras.")):
            raise ClassifierError(
                f"{path.name} has a {name} of {package!r}, which is not Keras: models run no code here"
            )
        registered = config.get("registered_name")
        if registered not in (None, name) and ">" in str(registered):
            raise ClassifierError(f"{path.name} has a {registered!r} of its own: models run no code here")


def _reason(name: object) -> str:
    if str(name).endswith("OpLambda"):
        return (
            f"a {name}: an operation of TensorFlow outside of any layer, often the preprocessing. Save the model "
            "without it, and name the preprocessing in the catalogue"
        )
    return f"a {name!r}, which is not on the list of layers that only compute: models run no code here"


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Every object of a document that names a class, whatever it lies in."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _read_config(path: Path) -> Any:  # noqa: ANN401
    """The architecture within a file, without how the model was trained: that is never loaded."""
    try:
        # by the ending, as `load_saved`: a file may be both, and what is looked at must be what is loaded
        text = _zip_config(path) if path.suffix == ".keras" else _h5_config(path)
        document = json.loads(text)
    # runtime errors: of encrypted members
    except (ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ClassifierError):
            raise
        raise ClassifierError(f"the architecture in {path.name} cannot be read") from error
    if isinstance(document, dict):
        document.pop("compile_config", None)
    return document


def _zip_config(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        try:
            info = archive.getinfo("config.json")
        except KeyError:
            raise ClassifierError(f"{path.name} has no config.json: it is not a model saved by Keras 3") from None
        if info.file_size > _LARGEST_CONFIG:
            raise ClassifierError(f"{path.name}: its config.json is too large")
        return archive.read(info)


def _h5_config(path: Path) -> str | bytes:
    if not h5py.is_hdf5(path):
        raise ClassifierError(f"{path.name} is not an HDF5 file")
    with h5py.File(path) as file:
        config = file.attrs.get("model_config")
    if not isinstance(config, str | bytes):
        raise ClassifierError(
            f"{path.name} has weights only, without the model: save it whole, with model.save(...), or name its "
            "architecture in the catalogue"
        )
    return config
