"""How a worker begins where Redis is there, but not for it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import TransientError
from shared.queue import connect, is_refused, queue_errors
from shared.settings import ROOT
from tests.conftest import RedisServer, make_redis_server


@pytest.fixture
def locked(short_tmp: Path) -> Iterator[RedisServer]:
    """A Redis whose password is "right"."""
    server = make_redis_server(short_tmp / "locked")
    server.command += ["--requirepass", "right"]
    server.url = server.url.replace("unix://", "unix://:right@")
    server.start()
    yield server
    server.kill()


def test_a_worker_with_a_wrong_password_says_so_and_ends(locked: RedisServer) -> None:
    url = locked.url.replace("right", "of-long-ago")
    command = [sys.executable, "-m", "worker"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"REDIS_URL": url}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Redis does not take the user or the password of REDIS_URL" in said
    assert "of-long-ago" not in said


def test_only_a_wrong_password_is_a_refusal(locked: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    wrong = locked.url.replace("right", "wrong")
    assert is_refused(wrong)
    assert not is_refused(locked.url)
    caplog.clear()
    with connect(wrong, patient=False) as connection, pytest.raises(TransientError) as raised, queue_errors():
        connection.ping()
    assert raised.value.code == "queue_down"
    assert "does not take the user or the password" in caplog.text
    locked.kill()
    caplog.clear()
    assert not is_refused(wrong)
    assert caplog.text == ""
