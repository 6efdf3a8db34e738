"""Pickles of NumPy arrays, read without running anything that they say.

A pickle is a program: it names functions and calls them. Here every name leads to a stand-in of ours that only notes
what it was given, or to an error. NumPy itself is used once the pickle is done, on bytes whose number, type and shape
have been checked. The format is that of `pickle` and of `numpy.ndarray.__reduce__`, protocols 2 to 5, from Python 2 and
3.
"""

import math
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.errors import MaskRcnnError

#: what may be in such a file: floating point numbers, integers and truth values of fixed size
KINDS: Final = frozenset("fiub")
#: of dictionaries in dictionaries
MAX_DEPTH: Final = 3
#: bytes of a line
MAX_LINE: Final = 1 << 16

_ERRORS: Final = (
    pickle.UnpicklingError,
    struct.error,
    AssertionError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    ImportError,
    MemoryError,
    RecursionError,
)


def load_arrays(path: Path) -> dict[str, Any]:
    """Read a pickle of a dictionary.

    Returns:
        What it holds by name: arrays of numbers, texts, numbers, and dictionaries of such.

    Raises:
        MaskRcnnError: it is no such pickle, names anything else than arrays, or is broken.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _resolved(_Reader(_Bounded(file), encoding="latin1").load())
        except _ERRORS as error:
            raise MaskRcnnError(f"{path.name} is not a pickle of arrays alone: {error}") from error


class _Type:
    """Stands for `numpy.dtype`."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise ValueError("a type of an array is broken")
        self.order = "<" if state[1] in "=|" else state[1]

    def resolve(self) -> np.dtype[Any]:
        """The type, if it is one of numbers."""
        if not isinstance(self.code, str) or len(self.code) != 2 or self.code[0] not in KINDS:
            raise ValueError(f"arrays of {self.code!r} are not taken")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for `numpy.ndarray`."""

    def __init__(self, shape: object = None, kind: object = None, data: object = None, order: object = "C") -> None:
        self.state = (shape, kind, order == "F", data)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array is broken")
        self.state = state[1:]

    def resolve(self) -> NDArray[Any]:
        """The array."""
        shape, kind, fortran, data = self.state
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(kind, _Type) or not isinstance(data, bytes | bytearray) or not isinstance(shape, tuple):
            raise ValueError("an array is broken")
        if not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError("an array has a broken shape")
        resolved = kind.resolve()
        if math.prod(shape) * resolved.itemsize != len(data):
            raise ValueError(f"an array of {shape} has {len(data)} bytes")
        return np.frombuffer(data, resolved).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    """Stands for the function that makes an empty array, for `__setstate__` to fill."""
    return _Array()


def _from_buffer(data: object, kind: object, shape: object, order: object) -> _Array:
    """Stands for the function that makes an array of protocol 5."""
    return _Array(shape, kind, data, order)


def _scalar(kind: object, data: object) -> _Array:
    """Stands for the function that makes a single number."""
    return _Array((), kind, data)


def _no_bytes() -> bytes:
    """Stands for `bytes`, which protocol 2 calls for none of them."""
    return b""


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """Stands for `codecs.encode`, by which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes are written in an unknown way")
    return text.encode("latin1")


_STAND_INS: Final[dict[tuple[str, str], Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Bounded:
    """A file of which nobody reads more than there is: a length that the pickle states would be allocated first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        if not 0 <= count <= self._left:
            raise EOFError("it ends too early")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        """A line, not longer than the names in these files."""
        line = self._file.readline(min(self._left, MAX_LINE))
        self._left -= len(line)
        return line


# the one in Python: that in C makes room for as many objects as the largest number a pickle gives to one
class _Reader(pickle._Unpickler):  # noqa: SLF001
    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """The stand-in for what a pickle names."""
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None

    def load_build(self) -> None:
        """Fill an array or a type, and nothing else."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Type | _Array):
            raise pickle.UnpicklingError("it changes what is no array")
        self.stack[-1].__setstate__(state)

    dispatch[pickle.BUILD[0]] = load_build


def _resolved(document: object, depth: int = 0) -> dict[str, Any]:
    """A dictionary with arrays for their stand-ins; without what is neither array, text, number nor dictionary."""
    if not isinstance(document, dict) or depth > MAX_DEPTH:
        raise ValueError("dictionaries of arrays are wanted")
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, _Array):
            found[str(key)] = value.resolve()
        elif isinstance(value, dict):
            found[str(key)] = _resolved(value, depth + 1)
        elif isinstance(value, str | int | float | bool):
            found[str(key)] = value
    return found
