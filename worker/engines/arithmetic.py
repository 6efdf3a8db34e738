"""In which arithmetic Keras computes. Imports Keras.

GPUs since NVIDIA's Ampere multiply float32 in TF32 unless they are told not to: 10 bits of mantissa instead of 23. All
three backends let them by default, so nothing here leaves it to a default.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import keras

from worker.engines.precision import Asked

logger = logging.getLogger(__name__)

Arithmetic = Literal["f32", "tf32", "bf16"]

#: NVIDIA's Ampere: the first one with TF32 and bfloat16
_AMPERE: Final = 8


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that Keras computes on.

    Args:
        name: as its maker calls it.
        fast: it has units for TF32 and bfloat16.
    """

    name: str
    fast: bool


def this_gpu() -> Gpu | None:
    """What Keras' backend computes on; None: the CPU."""
    match keras.config.backend():
        case "jax":
            import jax

            device = jax.devices()[0]
            if device.platform != "gpu":
                return None
            return Gpu(device.device_kind, _is_fast(getattr(device, "compute_capability", "")))
        case "torch":
            import torch

            if not torch.cuda.is_available():
                return None
            return Gpu(torch.cuda.get_device_name(), torch.cuda.get_device_capability()[0] >= _AMPERE)
        case "tensorflow":
            import tensorflow as tf

            for device in tf.config.list_physical_devices("GPU"):
                details = tf.config.experimental.get_device_details(device)
                return Gpu(details.get("device_name", "GPU"), details.get("compute_capability", (0,))[0] >= _AMPERE)
    return None


def _is_fast(capability: str) -> bool:
    major = capability.partition(".")[0]
    return major.isdecimal() and int(major) >= _AMPERE


def choose_arithmetic(asked: Asked, gpu: Gpu | None) -> Arithmetic:
    """What comes nearest to what was asked for; "auto" is what the GPU is fast at without a loss that shows."""
    fast = gpu is not None and gpu.fast
    if asked == "bf16" and fast:
        return "bf16"
    if asked in {"bf16", "int8"}:
        reason = "ENGINE=keras has no int8" if asked == "int8" else f"{gpu.name if gpu else 'the CPU'} has no fast bf16"
        logger.warning("%s: the model runs in %s", reason, "tf32" if fast else "f32")
    return "tf32" if fast and asked != "f32" else "f32"


@contextmanager
def layers_in(policy: str) -> Iterator[None]:
    """Layers that are made within have this dtype policy: "float32", "mixed_bfloat16", "mixed_float16"."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def products_in(arithmetic: Arithmetic) -> Iterator[None]:
    """Within, products of float32 are computed in TF32 on a GPU that has it, or (only for "f32") are not.

    With TensorFlow and PyTorch it stays so for the process until the next one says otherwise.
    """
    rough = arithmetic != "f32"
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
