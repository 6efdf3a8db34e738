"""Clients that send a byte now and then, against real gunicorn: others do not notice."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import Live, start_live, stop_live

pytestmark = pytest.mark.stack

CLIENTS = 200
#: of a detector's job: annotated.jpg, thumbnail.jpg, result.json
RESULT_FILES = 3
UPLOAD_TIMEOUT = 4
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
START = b"POST /upload HTTP/1.1\r\nHost: localhost\r\n"
KIND = b"Content-Type: multipart/form-data; boundary=b\r\n"
PHOTO = b"\xff\xd8\xff\xe0" + b"\0" * 70_000


@pytest.fixture(scope="module")
def service(live: Live, short_tmp: Path) -> Iterator[Live]:
    """Two web processes, as by default, with little patience."""
    weights = str(live.data_dir.parent / "weights")
    environment = {"WEIGHTS_DIR": weights, "UPLOAD_TIMEOUT": str(UPLOAD_TIMEOUT), "MIN_UPLOAD_RATE": "100000"}
    service = start_live(short_tmp / "slow", environment)
    yield service
    assert stop_live(service) == 0


def connect(service: Live) -> socket.socket:
    port = int(service.url.rsplit(":", 1)[1])
    return socket.create_connection(("127.0.0.1", port), timeout=60)


class Dripping:
    """Connections that send their first bytes at once, and then a byte each every second."""

    def __init__(self, service: Live, firsts: list[bytes]) -> None:
        self.sockets = [connect(service) for _ in firsts]
        for sock, first in zip(self.sockets, firsts, strict=True):
            sock.sendall(first)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._drip)
        self._thread.start()

    def _drip(self) -> None:
        while not self._end.wait(1):
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.sendall(b"x")

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        for sock in self.sockets:
            sock.close()


def test_slow_clients_hold_up_nobody(service: Live, data_dir: Path) -> None:
    """Headers byte by byte, bodies with a length, bodies in chunks; in between, a person uploads a photo."""
    kinds = [
        START + b"X-Slow: ",
        START + KIND + b"Content-Length: 500000\r\n\r\n" + HEAD + PHOTO,
        START + KIND + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + HEAD + PHOTO,
        START + KIND + b"Content-Length: 500000\r\n\r\n" + HEAD + b"no picture, refused while it comes",
    ]
    slow = Dripping(service, [kinds[number % len(kinds)] for number in range(CLIENTS)])
    times = []
    try:
        for name in ("dog", "eagle", "giraffe", "horses", "kite"):
            begin = time.monotonic()
            with (data_dir / "photos" / f"{name}.jpg").open("rb") as file:
                answer = requests.post(f"{service.url}/upload?wait=30", files={"file": file}, timeout=40)
            times.append(time.monotonic() - begin)
            assert answer.json()["state"] == "finished"
            assert requests.get(f"{service.url}/healthz", timeout=5).status_code == 200
        print(f"{CLIENTS} slow clients; uploads with results in {', '.join(f'{took:.2f}' for took in times)} s")
        assert max(times) < 5
    finally:
        slow.close()
    wait_for_files(service, files(service, "results") // RESULT_FILES)


def test_a_slow_body_is_ended_and_leaves_nothing(service: Live) -> None:
    requests_ = [
        START + KIND + b"Content-Length: 500000\r\n\r\n" + HEAD + PHOTO,
        START + KIND + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + HEAD + PHOTO,
    ] * 10
    before = files(service, "")
    slow = Dripping(service, requests_)
    try:
        time.sleep(1)
        assert files(service, "") == before + len(requests_), "they are being stored"
        begin = time.monotonic()
        for sock in slow.sockets:
            answer = sock.recv(4096)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert b"too_slow" in answer or b"too_slow" in sock.recv(4096)
        assert time.monotonic() - begin < UPLOAD_TIMEOUT + 5
        wait_for_files(service, files(service, "inputs"))
        assert files(service, "") == before
    finally:
        slow.close()


def test_a_connection_that_was_too_slow_is_not_used_again(service: Live) -> None:
    """What still comes of the body must not be taken for a request."""
    with connect(service) as sock:
        sock.sendall(START + KIND + b"Content-Length: 71000\r\n\r\n" + HEAD + PHOTO)
        assert sock.recv(4096).startswith(b"HTTP/1.1 408 ")
        with contextlib.suppress(OSError):
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        rest = b""
        with contextlib.suppress(OSError):
            while data := sock.recv(4096):
                rest += data
        assert b"HTTP/1.1 200" not in rest


def files(service: Live, folder: str) -> int:
    return sum(path.is_file() for path in (service.data_dir / "storage" / folder).rglob("*"))


def wait_for_files(service: Live, jobs: int) -> None:
    """Wait until storage holds the files of so many jobs and nothing else."""
    end = time.monotonic() + 10
    while (count := files(service, "")) != jobs * (1 + RESULT_FILES):
        assert time.monotonic() < end, f"{count} files of {jobs} jobs"
        time.sleep(0.1)
