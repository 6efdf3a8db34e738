"""S3 that is gone, then busy, then slow, then back: jobs wait, and nobody pays for it."""

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from shared.settings import Settings
from tests.conftest import free_port
from tests.stack.sleepy import Stack
from tests.worker.resident_bench import wait_for

pytestmark = pytest.mark.stack

#: seconds that S3 is gone, answers 503, answers 503 late
GONE, BUSY, SLOW = float(os.environ.get("S3_GONE", "12")), 6.0, 6.0
WORKERS = 2


class Refusing(BaseHTTPRequestHandler):
    """Answers what an overloaded S3 does; a slow one lets the client wait first."""

    delay = 0.0

    def answer(self) -> None:
        time.sleep(self.delay)
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True
        self.server.calls += 1  # type: ignore[attr-defined]

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class SlowRefusing(Refusing):
    delay = 3.0


def refuse(port: int, handler: type[Refusing], seconds: float) -> int:
    """Answer on that port for a while; the number of calls."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    server.calls = 0  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    time.sleep(seconds)
    server.shutdown()
    thread.join()
    server.server_close()
    return int(server.calls)  # type: ignore[attr-defined]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stack(
    connection: redis.Redis, redis_url: str, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    environment = {
        "STORAGE_URL": "s3://dropsight",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DATA_DIR": str(tmp_path / "data"),
        "LEASE": "3",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "weights").mkdir()
    stack = Stack(connection, Settings(redis_url=redis_url, weights_dir=tmp_path / "weights"), tmp_path, environment)
    yield stack
    stack.end()


def moto(port: int) -> ThreadedMotoServer:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    return server


def test_jobs_outlive_a_storage_that_is_away(stack: Stack, port: int) -> None:
    server = moto(port)
    stack.storage.prepare()
    workers = [stack.worker() for _ in range(WORKERS)]
    wait_for(lambda: all(stack.ready(worker) for worker in workers), 30)
    jobs = stack.submit([0.2] * 30)
    time.sleep(1)  # in the middle of the work
    server.stop()
    time.sleep(GONE)
    busy_calls = refuse(port, Refusing, BUSY)
    refuse(port, SlowRefusing, SLOW)
    tries = stack.redis.info("commandstats")["cmdstat_lmove"]["calls"]
    server = moto(port)  # its objects are those of before
    try:
        begin = time.monotonic()
        stack.wait(jobs, 60)
        back = time.monotonic() - begin
        figures = stack.check(jobs)
    finally:
        server.stop()
    assert figures == {"attempts": 0, "most": 0}, "nobody pays for a storage that is away"
    # at most one job a worker every few seconds, and the client's own three calls for each
    assert busy_calls <= WORKERS * 3 * (BUSY / 1.5), "the queue spins"
    print(
        f"dequeues until S3 was back: {tries}; calls in {BUSY:.0f} s of 503: {busy_calls}; all done {back:.1f} s after"
    )
