"""A job's own folder on a disk that is full."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from shared.errors import BadInputError, PublicError
from worker.scratch import scratch_folder


def _fill() -> None:
    with scratch_folder() as folder:
        (folder / "part").mkdir()
        (folder / "part" / "video.mp4").write_bytes(bytes(1000))
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("size", "code", "is_hopeless"), [(1500, "too_large", True), (3000, "storage_full", False)])
def test_what_alone_fills_the_disk_is_not_tried_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, code: str, is_hopeless: bool
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=size))
    with pytest.raises(PublicError) as caught:
        _fill()
    assert (caught.value.code, isinstance(caught.value, BadInputError)) == (code, is_hopeless)
    assert list(tmp_path.iterdir()) == []
