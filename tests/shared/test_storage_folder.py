"""What only a folder has: modes, links, full disks, races over empty folders."""

import errno
import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import PublicError, TransientError
from shared.storage import MissingObjectError
from shared.storage.folder import FolderStorage

MIB = 1024 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> FolderStorage:
    store = FolderStorage(tmp_path / "store")
    store.prepare()
    return store


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_modes(folder: FolderStorage) -> None:
    before = os.umask(0)
    try:
        folder.put("a/b/c.bin", b"x")
        with folder.writer("d.bin"):
            (temporary,) = (folder.root / ".tmp").iterdir()
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder.root / "a/b/c.bin").stat().st_mode) == 0o600
    for path in (".tmp", "a", "a/b"):
        assert stat.S_IMODE((folder.root / path).stat().st_mode) == 0o700


def test_empty_folders_go(folder: FolderStorage) -> None:
    folder.put("a/b/c/d.bin", b"x")
    folder.put("a/e.bin", b"x")
    folder.delete("a/b/c/d.bin")
    assert files(folder.root) == [".tmp", "a", "a/e.bin"]
    folder.put("a/b/c/d.bin", b"x")
    assert folder.delete_prefix("a/b/") == 1
    assert files(folder.root) == [".tmp", "a", "a/e.bin"]
    assert folder.delete_prefix("a/") == 1
    assert files(folder.root) == [".tmp"]


def test_a_reader_keeps_what_it_opened(folder: FolderStorage) -> None:
    folder.put("a.bin", bytes(MIB))
    with folder.open("a.bin") as blob:
        chunks = iter(blob)
        first = next(chunks)
        folder.put("a.bin", b"other")
        folder.delete("a.bin")
        assert first + b"".join(chunks) == bytes(MIB)


def test_file_cut_short_by_somebody_else(folder: FolderStorage) -> None:
    folder.put("a.bin", bytes(MIB))
    with folder.open("a.bin") as blob:
        os.truncate(folder.root / "a.bin", 10)
        with pytest.raises(TransientError):
            blob.read()


class TestLinksAreNotFollowed:
    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret.txt").write_text("secret")
        return outside

    def test_link_to_a_file(self, folder: FolderStorage, secret: Path) -> None:
        (folder.root / "a.txt").symlink_to(secret / "secret.txt")
        assert folder.stat("a.txt") is None
        with pytest.raises(MissingObjectError):
            folder.get("a.txt")
        assert list(folder.list("")) == []
        folder.put("a.txt", b"ours")
        assert folder.get("a.txt") == b"ours"
        assert (secret / "secret.txt").read_text() == "secret"

    def test_link_to_a_folder(self, folder: FolderStorage, secret: Path) -> None:
        (folder.root / "a").symlink_to(secret)
        assert folder.stat("a/secret.txt") is None
        with pytest.raises(MissingObjectError):
            folder.get("a/secret.txt")
        assert list(folder.list("a/")) == []
        assert list(folder.list("")) == []
        folder.delete("a/secret.txt")
        assert folder.delete_prefix("a/") == 0
        with pytest.raises(PublicError, match="set up"):
            folder.put("a/new.txt", b"x")
        assert files(secret) == ["secret.txt"]
        assert files(folder.root / ".tmp") == []

    def test_link_inside_what_is_deleted(self, folder: FolderStorage, secret: Path) -> None:
        folder.put("a/b.txt", b"x")
        (folder.root / "a" / "link").symlink_to(secret)
        folder.delete_prefix("a/")
        assert files(folder.root) == [".tmp"]
        assert files(secret) == ["secret.txt"]

    def test_pipes_are_no_objects(self, folder: FolderStorage) -> None:
        os.mkfifo(folder.root / "a.txt")
        assert folder.stat("a.txt") is None
        with pytest.raises(MissingObjectError):
            folder.get("a.txt")
        assert list(folder.list("")) == []


class TestFaults:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    @pytest.mark.parametrize("call", ["write", "fsync"])
    def test_disk_full(self, folder: FolderStorage, monkeypatch: pytest.MonkeyPatch, number: int, call: str) -> None:
        def fail(*_: object) -> int:
            raise OSError(number, "full")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(PublicError) as caught:
                folder.put("a/b.bin", b"x")
        assert caught.value.code == "storage_full"
        assert files(folder.root) == [".tmp"] or files(folder.root) == [".tmp", "a"]
        assert folder.stat("a/b.bin") is None

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[FolderStorage]:
        if os.geteuid() != 0 or not shutil.which("mount"):
            pytest.skip("only root can mount a small disk")
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False
        )
        if mount.returncode:
            pytest.skip("this machine does not let us mount a small disk")
        try:
            store = FolderStorage(disk / "store")
            store.prepare()
            yield store
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_a_disk_that_is_really_full(self, small_disk: FolderStorage) -> None:
        small_disk.put("kept.bin", bytes(500_000))
        with pytest.raises(PublicError) as caught, small_disk.writer("a/b.bin") as writer:  # noqa: PT012
            for _ in range(20):
                writer.write(bytes(100_000))
        assert caught.value.code == "storage_full"
        assert files(small_disk.root) == [".tmp", "kept.bin"]
        small_disk.put("a/b.bin", bytes(400_000))  # the space is free again
        filler = small_disk.root / "filler"
        with pytest.raises(OSError, match="space"):
            filler.write_bytes(bytes(MIB))
        with pytest.raises(PublicError, match="full"):
            small_disk.check()
        filler.unlink()
        small_disk.check()
        assert small_disk.get("kept.bin") == bytes(500_000)

    @pytest.mark.parametrize(
        ("number", "transient"), [(errno.EIO, True), (errno.ESTALE, True), (errno.EROFS, False), (errno.EACCES, False)]
    )
    def test_other_faults(
        self, folder: FolderStorage, monkeypatch: pytest.MonkeyPatch, number: int, transient: bool
    ) -> None:
        def fail(*_: object, **__: object) -> int:
            raise OSError(number, "no", "/secret/path")

        folder.put("a.bin", b"x")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            for call in (folder.check, lambda: folder.put("b.bin", b"x"), lambda: folder.get("a.bin")):
                with pytest.raises(PublicError) as caught:
                    call()
                assert caught.value.code == "storage_down"
                assert isinstance(caught.value, TransientError) is transient
                assert "/secret/path" not in str(caught.value)

    def test_a_lost_mount_is_not_an_empty_store(self, folder: FolderStorage) -> None:
        folder.put("a.bin", b"x")
        folder.root.rename(folder.root.with_name("gone"))
        for call in (
            folder.check,
            lambda: folder.get("a.bin"),
            lambda: folder.stat("a.bin"),
            lambda: list(folder.list("")),
            lambda: folder.delete("a.bin"),
            lambda: folder.delete_prefix("a/"),
            lambda: folder.put("a.bin", b"x"),
        ):
            with pytest.raises(TransientError):
                call()

    def test_root_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(PublicError) as caught:
            FolderStorage(tmp_path / "file").prepare()
        assert caught.value.code == "storage_down"
        assert str(tmp_path) not in str(caught.value)


def test_sweep_takes_only_the_old(folder: FolderStorage) -> None:
    old = folder.root / ".tmp" / "old"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    with folder.writer("a.bin") as writer:
        writer.write(b"x")
        assert folder.sweep_temporary() == 1
    assert folder.get("a.bin") == b"x"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    FolderStorage(folder.root).prepare()
    assert not old.exists()


def test_writers_and_deleters_of_one_folder(folder: FolderStorage) -> None:
    """A folder that another thread removes between its making and the moving of the file."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def keep_deleting() -> None:
        while not stop.is_set():
            try:
                folder.delete_prefix("a/")
                folder.delete("a/b/1.bin")
                time.sleep(0.0005)
            except BaseException as error:  # noqa: BLE001 - shown below
                errors.append(error)

    deleters = [threading.Thread(target=keep_deleting) for _ in range(2)]
    for thread in deleters:
        thread.start()
    try:
        for number in range(150):
            folder.put(f"a/b/{number % 3}.bin", b"x")
    finally:
        stop.set()
        for thread in deleters:
            thread.join()
    assert errors == []
    folder.delete_prefix("a/")
    assert files(folder.root) == [".tmp"]


def test_a_write_lasts_and_waits_for_the_disk_no_more_than_it_must(
    folder: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the folder that names it; those above it only when they are new."""
    synced: list[str] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink().relative_to(folder.root)))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    folder.put("results/1/a.txt", b"a")
    assert synced[1:] == ["results/1", "results", "."]
    assert synced[0].startswith(".tmp/")
    synced.clear()
    folder.put("results/1/b.txt", b"b")
    assert synced[1:] == ["results/1"]


def test_an_exception_of_a_signal_leaves_no_write_behind(
    folder: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written after a job was stopped and deleted would stay."""
    begun: list[str] = []
    ended: list[str] = []
    real = FolderStorage.put

    def put(self: FolderStorage, key: str, data: bytes, content_type: str | None = None) -> None:
        begun.append(key)
        time.sleep(0.4)
        real(self, key, data, content_type)
        ended.append(key)

    def stop(*_: object) -> None:
        raise InterruptedError("stop")

    monkeypatch.setattr(FolderStorage, "put", put)
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(InterruptedError, match="stop"):
            folder.put_many([(f"a/{number}.txt", b"x") for number in range(30)])
        assert sorted(begun) == sorted(ended)
        assert 0 < len(begun) < 30, "what waited was not begun any more"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
