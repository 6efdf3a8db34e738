"""In which arithmetic Keras multiplies. Imports Keras.

GPUs since NVIDIA's Ampere multiply float32 in TF32 unless they are told not to: 10 bits of mantissa instead of 23. Each
backend has a default of its own, for convolutions and for matrices apart, so nothing here is left to one.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import keras

from worker.engines.precision import Asked

logger = logging.getLogger(__name__)

Arithmetic = Literal["f32", "tf32"]

#: NVIDIA's Ampere: the first one with TF32
_AMPERE: Final = 8


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that Keras computes on.

    Args:
        name: as its maker calls it.
        tf32: it has units for TF32.
    """

    name: str
    tf32: bool


def this_gpu() -> Gpu | None:
    """What Keras' backend computes on; None: the CPU."""
    match keras.config.backend():
        case "jax":
            import jax

            device = jax.devices()[0]
            major = str(getattr(device, "compute_capability", "")).partition(".")[0]
            if device.platform == "gpu":
                return Gpu(device.device_kind, major.isdecimal() and int(major) >= _AMPERE)
        case "torch":
            import torch

            if torch.cuda.is_available():
                return Gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability()[0] >= _AMPERE)
        case "tensorflow":
            import tensorflow as tf

            for device in tf.config.list_physical_devices("GPU"):
                details = tf.config.experimental.get_device_details(device)
                return Gpu(details.get("device_name", "GPU"), details.get("compute_capability", (0,))[0] >= _AMPERE)
    return None


def choose_arithmetic(asked: Asked, gpu: Gpu | None) -> Arithmetic:
    """What comes nearest to what was asked for: "auto" is TF32 where the GPU has it.

    There is no bfloat16: on an H200 one photo takes as long in it as in TF32 (docs/benchmarks.md).
    """
    arithmetic: Arithmetic = "tf32" if gpu is not None and gpu.tf32 and asked != "f32" else "f32"
    if asked in {"bf16", "int8"}:
        logger.warning("ENGINE=keras has no %s: models run in %s", asked, arithmetic)
    return arithmetic


@contextmanager
def products_in(arithmetic: Arithmetic) -> Iterator[None]:
    """Within, float32 is multiplied in this arithmetic. On a CPU both are the same.

    With TensorFlow and PyTorch it stays so for the process until the next one says otherwise.
    """
    rough = arithmetic == "tf32"
    match keras.config.backend():
        case "jax":
            import jax

            with jax.default_matmul_precision("default" if rough else "highest"):
                yield
            return
        case "torch":
            import torch

            torch.backends.cudnn.allow_tf32 = rough
            torch.backends.cuda.matmul.allow_tf32 = rough
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(rough)
    yield
