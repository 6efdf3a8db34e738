import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.models.mask_rcnn.arrays_pickle import load_arrays
from worker.models.mask_rcnn.errors import MaskRcnnError

ARRAYS = {
    "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "half": np.asarray([1.5, -2], np.float16),
    "big": np.arange(3, dtype=">i4"),
    "truth": np.asarray([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "single": np.float32(3.25),
    "none": np.asarray(7, np.int64),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_all_protocols(path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps({"model": ARRAYS, "__author__": "somebody", "flag": True}, protocol))
    found = load_arrays(path)
    assert (found["__author__"], found["flag"]) == ("somebody", True)
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(found["model"][name], expected)
        assert found["model"][name].dtype == np.asarray(expected).dtype


def test_python_2_wrote_bytes_as_text(path: Path) -> None:
    """Its pickles have the numbers of an array as a string of protocol 2."""
    values = np.asarray([1, -2.5, 3e10], np.float32)
    data = values.tobytes()
    path.write_bytes(
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x03\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"U"
        + bytes([len(data)])
        + data
        + b"tbs."
    )
    np.testing.assert_array_equal(load_arrays(path)["a"], values)


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    "thing",
    [
        Evil(os.system, "touch here"),
        Evil(eval, "__import__('os').system('touch here')"),
        Evil(getattr, "text", "format"),
        Evil(np.load, "here"),
        Evil(np.memmap, "here", "uint8", "w+", 0, (1,)),
        Evil(np.fromfile, "/etc/passwd"),
        Evil(pickle.loads, b"."),
        Evil(open, "here", "w"),
        Evil(__import__, "os"),
        collections.OrderedDict(a=1),
        np.asarray([object], object),
        np.zeros(2, [("a", "f4"), ("b", "O")]),
        np.asarray(["text"]),
        np.asarray([1j]),
        np.zeros(2, "datetime64[s]"),
    ],
    ids=lambda thing: str(getattr(thing, "call", thing))[:40],
)
def test_whatever_else_a_pickle_names_is_refused(path: Path, thing: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for protocol in (2, 4, 5):
        for document in ({"model": {"b": ARRAYS["a"], "a": thing}}, {"a": thing}, thing):
            path.write_bytes(pickle.dumps(document, protocol))
            with pytest.raises(MaskRcnnError, match="is not a pickle of arrays alone"):
                load_arrays(path)
    assert [each.name for each in path.parent.iterdir()] == ["some.file"]


def rewritten(old: bytes, new: bytes) -> bytes:
    data = pickle.dumps({"model": {"a": np.arange(6, dtype=np.float32)}}, 4)
    assert old in data
    return data.replace(old, new)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        b"\x80\x04",
        rewritten(b"\x8c\x02f4", b"\x8c\x02O8"),
        rewritten(b"\x8c\x02f4", b"\x8c\x02V4"),
        rewritten(b"\x8c\x02f4", b"\x8c\x02f8"),  # then there are too few bytes
        rewritten(b"K\x06\x85", b"M\xff\xff\x85"),  # a longer shape than there are bytes
        rewritten(b"K\x06\x85", b"J\xff\xff\xff\xff\x85"),  # a negative one
        rewritten(b"numpy", b"nympy"),
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.",  # bytes without end
        b"\x80\x02}U\x01acnumpy\nndarray\n)\x81s.",  # an array that was never filled
        b"\x80\x02cnumpy\nndarray\n)\x81}b.",
        b"\x80\x02cnumpy\ndtype\n(lR.",
        b"\x80\x02cnumpy\nndarray\nclist\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        b"(" * 5000 + b"t" * 5000 + b".",
        b"\x80\x02K\x01Q.",  # persistent ids
        b"\x80\x02\x82\x01.",  # extension registry
        b"\x80\x02}r\xff\xff\xff\xffr\xff\xff\xff\x7fU\x01aU",  # room for four thousand million objects
        b"\x80\x02cnumpy\nndarray\n}U\x05stateK\x01sb.",  # a change of the class itself
        b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__)s\x86b.",
    ],
)
def test_broken_pickles(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(MaskRcnnError, match=r"some\.file is not a pickle of arrays alone"):
        load_arrays(path)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_pickles_are_refused_or_harmless(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    good = bytearray(pickle.dumps({"model": {"a": np.arange(6, dtype=np.float32)}}, 2))
    for _ in range(50):
        data = bytearray(good)
        for _ in range(3):
            data[random.integers(len(data))] = random.integers(256)
        path.write_bytes(data)
        try:
            load_arrays(path)
        except MaskRcnnError:
            pass
