"""Fixtures of the storage suite: the same store in a folder, on moto, and on a server that checks signatures.

With `TEST_S3_URL`, `TEST_S3_ACCESS_KEY` and `TEST_S3_SECRET_KEY` also on a server of yours (`-k server`), in buckets
of its own that are left there, empty.
"""

import hashlib
import os
import secrets
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from shared.settings import Settings
from shared.storage import Storage, open_storage
from tests.s3_server import SwiftServer

MIB = 1024 * 1024
#: a server of the user's
OWN_SERVER = os.environ.get("TEST_S3_URL")
S3_KINDS = ["moto", "swift", *(["server"] if OWN_SERVER else [])]


@dataclass
class Place:
    """Somewhere to keep files: opens stores in it, with settings of their own."""

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)
    root: Path = Path()

    def open(self, **settings: object) -> Storage:
        return open_storage(Settings(**{**self.settings, **settings}))

    def run(self, script: str) -> None:
        """Run a script in a process of its own, whose settings name this place."""
        settings = {name.upper(): str(value) for name, value in self.settings.items()}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def pattern(size: int) -> bytes:
    """Bytes of which no two stretches are alike, so that a swapped or repeated part shows."""
    block = b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(min(size, MIB) // 32 + 1))
    return b"".join(bytes([index % 256]) + block[:MIB] for index in range(size // MIB + 1))[:size]


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def swift_server() -> Iterator[SwiftServer]:
    with SwiftServer() as server:
        yield server


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own: no profile, no role, no region."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "STORAGE_URL", "S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SwiftServer.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")


def make_place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if kind == "folder":
        root = tmp_path / "store of files"
        return Place(kind, {"storage_url": root.as_uri()}, root)
    if kind == "server":
        url = OWN_SERVER
        monkeypatch = request.getfixturevalue("monkeypatch")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", os.environ["TEST_S3_ACCESS_KEY"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", os.environ["TEST_S3_SECRET_KEY"])
    else:
        url = request.getfixturevalue("moto_server") if kind == "moto" else request.getfixturevalue("swift_server").url
    bucket = f"bucket-{secrets.token_hex(6)}"
    return Place(kind, {"storage_url": f"s3://{bucket}/a/prefix", "s3_endpoint_url": url})


@pytest.fixture(params=["folder", *S3_KINDS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request.param, request, tmp_path)


@pytest.fixture(params=S3_KINDS)
def s3_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place(request.param, request, tmp_path)


@pytest.fixture
def swift_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place("swift", request, tmp_path)


@pytest.fixture
def folder_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return make_place("folder", request, tmp_path)


@pytest.fixture(scope="session")
def opened() -> dict[str, Storage]:
    """S3 stores that the tests share, each with an empty bucket: a client takes boto3 a third of a second."""
    return {}


@pytest.fixture
def store(place: Place, opened: dict[str, Storage]) -> Iterator[Storage]:
    """An empty store that is ready."""
    if place.kind == "folder" or place.kind not in opened:
        opened[place.kind] = place.open()
        opened[place.kind].prepare()
    storage = opened[place.kind]
    yield storage
    for stat in storage.list(""):
        storage.delete(stat.key)
    storage.sweep_temporary(timedelta(0))
