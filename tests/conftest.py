"""Fixtures for all tests: a real Redis, settings of a fresh installation, the real service."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, sync_playwright

from shared.queue import connect
from shared.settings import ROOT, Settings
from standalone import redis_server
from tests.tiny_training import write_tiny_model

DATA = ROOT.parent / "shared" / "data"
MODEL = "yolo-fastest-1.1-xl"
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The reference data beside the repository."""
    if not DATA.is_dir():
        message = "the reference data (../shared/data) is not here"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return DATA


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """A folder with a short path, for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="ds-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@dataclass
class RedisServer:
    """A server of our own that tests may kill."""

    url: str
    command: list[str]
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = redis.Redis.from_url(self.url)
        for _ in range(200):
            try:
                client.ping()
                break
            except redis.exceptions.ConnectionError:
                time.sleep(0.05)
        else:
            pytest.fail("Redis did not start")
        client.close()

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(sig)
            self.process.wait(10)
            self.process = None


def make_redis_server(folder: Path) -> RedisServer:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "redis.sock"
    command = redis_server.command(redis_server.find_server(), path, folder)
    # Redis stands still while a busy disk syncs, and no test kills the kernel
    return RedisServer(f"unix://{path}", [*command, "--appendfsync", "no"])


@pytest.fixture(scope="session")
def redis_process(short_tmp: Path) -> Iterator[RedisServer]:
    server = make_redis_server(short_tmp / "redis")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(redis_process: RedisServer) -> str:
    """The URL of an empty, real Redis."""
    client = redis.Redis.from_url(redis_process.url)
    client.flushall()
    client.close()
    return redis_process.url


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a fresh installation, without any weights."""
    weights = tmp_path / "weights"
    weights.mkdir()
    return Settings(redis_url=redis_url, data_dir=tmp_path / "data", weights_dir=weights)


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    client = connect(redis_url, patient=False)
    yield client
    client.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Live:
    """The service as `make run` starts it."""

    url: str
    data_dir: Path
    process: "subprocess.Popen[bytes]"
    output: Path


def start_live(folder: Path, environment: dict[str, str], *, wait_ready: bool = True) -> Live:
    """Start `python -m standalone` and wait until it says that it is ready."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "standalone"],
            cwd=ROOT,
            env=os.environ
            | {
                "PORT": str(port),
                "DATA_DIR": str(folder / "data"),
                "WEIGHTS_DIR": str(folder / "weights"),
                "WEIGHTS_SOURCE": str(DATA / "weights"),
                "REDIS_URL": "",
                "STORAGE_URL": "",
            }
            | environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    live = Live(f"http://127.0.0.1:{port}", folder / "data", process, output)
    end = time.monotonic() + 90
    while wait_ready and b"is ready" not in output.read_bytes():
        if process.poll() is not None or time.monotonic() > end:
            stop_live(live)
            pytest.fail(f"the service did not become ready:\n{output.read_text()}\n{_logs(live)}")
        time.sleep(0.1)
    return live


def stop_live(live: Live) -> int:
    if live.process.poll() is None:
        live.process.terminate()
    return live.process.wait(60)


def _logs(live: Live) -> str:
    return "\n".join(f"-- {log.name}\n{log.read_text()[-3000:]}" for log in (live.data_dir / "logs").glob("*.log"))


@pytest.fixture(scope="session")
def live(data_dir: Path, short_tmp: Path) -> Iterator[Live]:
    """The whole service: real Redis, one real worker with the real small model, gunicorn."""
    service = start_live(short_tmp / "live", {})
    yield service
    status = stop_live(service)
    assert status == 0, service.output.read_text()


@pytest.fixture(scope="session")
def training_service(short_tmp: Path) -> Iterator[Live]:
    """The whole service with a trainer, and a detector that has learnt nothing as its only model."""
    if not list(Path(sys.prefix).glob("lib/python*/site-packages/tensorflow/__init__.py")):
        pytest.skip("TensorFlow is not installed")
    folder = short_tmp / "training"
    catalog = write_tiny_model(folder / "weights")
    environment = {"ALLOW_TRAINING": "true", "CATALOG": str(catalog), "LEASE": "3", "WEB_PROCESSES": "1"}
    service = start_live(folder, environment | {"TF_NUM_INTRAOP_THREADS": "2", "DRAIN_TIMEOUT": "1"})
    yield service
    assert stop_live(service) == 0


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, else the one that Playwright installed. One for all: Playwright runs only once."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: install it (apt-get install chromium), or `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()
