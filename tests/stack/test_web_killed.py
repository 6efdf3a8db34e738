"""`kill -9` of a web process in the middle of uploads: no job without its input, and what belongs to no job goes."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from shared.queue import connect, keys
from shared.storage.base import STALE
from tests.conftest import Live, start_live, stop_live

pytestmark = pytest.mark.stack

ORPHAN_TTL = 2
CLIENTS = 4
KILLS = 5
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
HEAD = (
    b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 9000000\r\n\r\n"
)


@pytest.fixture(scope="module")
def service(data_dir: Path, short_tmp: Path) -> Iterator[Live]:
    environment = {
        "WEB_PROCESSES": "1",
        "LEASE": "3",
        "ORPHAN_TTL": str(ORPHAN_TTL),
        "JANITOR_INTERVAL": "1",
    }
    service = start_live(short_tmp / "web-killed", environment)
    yield service
    assert stop_live(service) == 0


def wait_for(condition: Callable[[], object], seconds: float, what: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def web_process(service: Live) -> int:
    """The process that gunicorn's master has forked to answer, or 0 while there is none."""
    port = service.url.rsplit(":", 1)[1]
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if b"gunicorn" in (entry / "cmdline").read_bytes():
                environment = (entry / "environ").read_bytes().split(b"\0")
                if f"PORT={port}".encode() in environment:
                    found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return next((pid for pid, parent in found.items() if parent in found), 0)


def kill_web(service: Live) -> None:
    wait_for(lambda: web_process(service), 10, lambda: "gunicorn has no process")
    os.kill(web_process(service), signal.SIGKILL)


def answers(service: Live) -> bool:
    try:
        return requests.get(f"{service.url}/healthz", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


def stored(service: Live, folder: str) -> set[Path]:
    return {path for path in (service.data_dir / "storage" / folder).rglob("*") if path.is_file()}


def known_jobs(service: Live) -> set[str]:
    """The jobs that Redis knows."""
    with connect(f"unix://{service.data_dir}/run/redis.sock", patient=False) as redis:
        return {member.decode() for member in redis.zrange(keys.JOBS, 0, -1)}


def test_what_a_killed_upload_leaves_is_taken_away(service: Live, data_dir: Path) -> None:
    """Of two files of a request, one is stored and the other half there."""
    photo = (data_dir / "photos" / "eagle.jpg").read_bytes()
    kept = requests.post(f"{service.url}/upload?wait=30", files={"file": photo}, timeout=40).json()
    assert kept["state"] == "finished"
    inputs, jobs = stored(service, "inputs"), known_jobs(service)
    with socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1])), timeout=20) as sock:
        sock.sendall(HEAD + PART + photo + b"\r\n" + PART + photo[: 80 * 1024])
        wait_for(
            lambda: len(stored(service, "inputs") - inputs) == 1 and len(stored(service, ".tmp")) == 1,
            10,
            lambda: stored(service, ""),
        )
        kill_web(service)
        assert sock.recv(1) == b"", "a request that was cut off is not answered"
    assert known_jobs(service) == jobs
    (half,) = stored(service, ".tmp")
    # the store waits for longer than any upload may take; make it so
    long_ago = time.time() - STALE.total_seconds() - 1
    os.utime(half, (long_ago, long_ago))
    wait_for(
        lambda: stored(service, "inputs") == inputs and not stored(service, ".tmp"), 20, lambda: stored(service, "")
    )
    wait_for(lambda: answers(service), 20, lambda: "gunicorn has not brought up another process")
    assert requests.get(f"{service.url}{kept['links']['image']}", timeout=10).status_code == 200


def test_web_processes_killed_under_load(service: Live, data_dir: Path) -> None:
    """Whoever got a 202 gets a result, and no job is there whose input is not."""
    photo = (data_dir / "photos" / "eagle.jpg").read_bytes()
    dice = random.Random(1)
    accepted: list[str] = []
    broken_off: list[int] = []
    end = threading.Event()

    def send(client: int) -> None:
        number = 0
        while not end.is_set():
            number += 1
            score = f"0.{client}{number:05d}1"  # no two alike: none is answered from the cache
            try:
                answer = requests.post(
                    f"{service.url}/upload", files={"file": photo}, data={"score": score}, timeout=20
                )
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                broken_off.append(number)
                time.sleep(0.05)
                continue
            assert answer.status_code == 202, answer.text
            accepted.append(answer.json()["id"])
            time.sleep(0.02)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(send, client) for client in range(1, CLIENTS + 1)]
        try:
            for _ in range(KILLS):
                wait_for(lambda: answers(service), 20, lambda: "gunicorn has not brought up another process")
                time.sleep(dice.uniform(0.2, 0.8))
                kill_web(service)
            wait_for(lambda: answers(service), 20, lambda: "gunicorn has not brought up another process")
        finally:
            end.set()
    for client in clients:
        client.result()
    assert broken_off, "no upload was hit"
    jobs = known_jobs(service)
    assert set(accepted) <= jobs
    for job_id in jobs:
        job = requests.get(f"{service.url}/jobs/{job_id}?wait=30", timeout=40).json()
        assert (job["state"], job["attempts"]) == ("finished", 0), job
    wait_for(
        lambda: {path.stem for path in stored(service, "inputs")} == jobs,
        20,
        lambda: {path.stem for path in stored(service, "inputs")} ^ jobs,
    )
    print(f"{KILLS} kills: {len(accepted)} uploads accepted, {len(broken_off)} broken off, {len(jobs)} jobs finished")
