"""Zip files that mean harm."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from worker.training.datasets.errors import DatasetError
from worker.training.datasets.unpack import UnpackLimits, unpack


def make_zip(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], *, packed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return path


def refused(archive: Path, folder: Path, match: str, limits: UnpackLimits | None = None) -> None:
    with pytest.raises(DatasetError, match=match):
        unpack(archive, folder, limits)
    assert not folder.exists()


def test_an_honest_one(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.zip", [("cats/", b""), ("cats/1.txt", b"one"), ("dogs/very/2.txt", b"two")], packed=True
    )
    unpack(archive, tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.txt")}
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "cats/1.txt": b"one",
        "dogs/very/2.txt": b"two",
    }
    with pytest.raises(FileExistsError):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "a/../../evil.txt",
        "/evil.txt",
        "C:/evil.txt",
        "..\\evil.txt",
        "a\0b",
        "a\nb",
        "x" * 300,
        "a/" * 20 + "b",
    ],
)
def test_names(tmp_path: Path, name: str) -> None:
    # written under a harmless name of the same length, as zipfile would tidy it up
    stand_in = "n" * len(name)
    archive = make_zip(tmp_path / "a.zip", [(stand_in, b"evil")])
    archive.write_bytes(archive.read_bytes().replace(stand_in.encode(), name.encode()))
    refused(archive, tmp_path / "deep" / "out", "name that is not allowed")
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(("kind", "match"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "no plain file")])
def test_links_and_devices(tmp_path: Path, kind: int, match: str) -> None:
    entry = zipfile.ZipInfo("passwd")
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    refused(make_zip(tmp_path / "a.zip", [(entry, b"/etc/passwd")]), tmp_path / "out", match)


def test_bombs(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "a.zip", [("zeros.png", bytes(10_000_000))], packed=True)
    assert bomb.stat().st_size < 20_000
    refused(bomb, tmp_path / "out", "100 times its own size")
    refused(bomb, tmp_path / "out", "larger than 1 MB", UnpackLimits(total_bytes=1 << 20, ratio=1e6))
    many = make_zip(tmp_path / "b.zip", [(f"{number}", b"") for number in range(50)])
    refused(many, tmp_path / "out", "more than 49 entries", UnpackLimits(entries=49))


def test_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "a.zip", [("zeros.png", bytes(10_000_000))], packed=True)
    bomb.write_bytes(bomb.read_bytes().replace(struct.pack("<I", 10_000_000), struct.pack("<I", 10)))
    refused(bomb, tmp_path / "out", "broken")


def test_the_same_name_twice(tmp_path: Path) -> None:
    refused(make_zip(tmp_path / "a.zip", [("a.txt", b"1"), ("A.TXT", b"2")]), tmp_path / "out", "twice")


def test_methods_and_encryption(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_BZIP2) as opened:
        opened.writestr("a.txt", b"1" * 100)
    refused(archive, tmp_path / "out", "not supported")
    entry = zipfile.ZipInfo("a.txt")
    archive = make_zip(tmp_path / "b.zip", [(entry, b"1")])
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(data))
    refused(archive, tmp_path / "out", "encrypted")


def test_broken(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a.txt", b"hello" * 100)])
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(archive, tmp_path / "out", "broken")
    archive.write_bytes(whole.replace(b"hello", b"jello"))
    refused(archive, tmp_path / "out", "broken")
