"""Which arithmetic a network runs in on this processor."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

logger = logging.getLogger(__name__)

Precision = Literal["f32", "bf16", "int8"]
#: an `openvino.Core`; OpenVINO comes without types
Core: TypeAlias = Any

#: what PRECISION may say
Asked = Literal["auto", "f32", "bf16", "int8"]

CPUINFO = Path("/proc/cpuinfo")
#: Linux' names for instructions that multiply 8-bit integers and add them up in 32 bits, of x86 and of ARM. Without
#: them int8 takes three instructions instead of one, and may be slower than float32.
INT8_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"})


@dataclass(frozen=True, slots=True)
class Processor:
    """What matters of a processor here.

    Args:
        name: as OpenVINO calls it.
        bf16: it computes in bfloat16 without a detour.
        int8: it has instructions for products of 8-bit integers.
    """

    name: str
    bf16: bool
    int8: bool

    def __str__(self) -> str:
        natives = [name for name, there in (("bf16", self.bf16), ("int8", self.int8)) if there]
        return f"{self.name} ({', '.join(natives) or 'neither bf16 nor int8 instructions'})"


def this_processor(core: Core, cpuinfo: Path = CPUINFO) -> Processor:
    """The processor of this machine, as an `openvino.Core` and Linux describe it."""
    return Processor(
        name=core.get_property("CPU", "FULL_DEVICE_NAME"),
        bf16="BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
        int8=not INT8_FLAGS.isdisjoint(_flags(cpuinfo)),
    )


def _flags(cpuinfo: Path) -> set[str]:
    """What the first processor can do; nothing where there is no such file."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


@dataclass(frozen=True, slots=True)
class Measured:
    """How fast a network was when its int8 form was made.

    Args:
        processor: where.
        medians_ms: milliseconds a run by precision; "f32" and "int8", and "bf16" where the processor has it.
    """

    processor: str
    medians_ms: Mapping[Precision, float]


def choose_precision(asked: Asked, processor: Processor, int8: Measured | None) -> Precision:
    """The arithmetic to take.

    Args:
        asked: the setting. "auto": int8 if it is there and faster, else bf16 if the processor has it, else f32.
        processor: of this machine.
        int8: speed of the network's int8 form; None: there is none that may be used.
    """
    floating: Precision = "bf16" if processor.bf16 else "f32"
    if asked in {"f32", "bf16"}:
        return "f32" if floating == "f32" else asked
    if int8 is None:
        return floating
    return "int8" if asked == "int8" or _int8_is_faster(processor, int8, floating) else floating


def _int8_is_faster(processor: Processor, int8: Measured, floating: Precision) -> bool:
    """As it was measured on such a processor; on another one its instructions tell."""
    if int8.processor == str(processor) and floating in int8.medians_ms:
        return int8.medians_ms["int8"] < int8.medians_ms[floating]
    return processor.int8
