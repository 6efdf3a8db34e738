"""Every odd file there is, at once, on the live service: each gets a result or an honest reason, and nobody dies."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.errors import CODES
from shared.queue import Fleet, connect
from tests.conftest import Live

pytestmark = pytest.mark.stack

REFUSED = {413, 415, 422}
#: never the file's fault; one of these would mean that it got through to something
OURS = {"timeout", "crashed", "out_of_memory", "model_broken", "internal", "queue_down", "storage_down"}
SECONDS = 300


def test_every_odd_file_ends_well(live: Live, data_dir: Path) -> None:
    paths = sorted(path for name in ("odd", "videos") for path in (data_dir / name).rglob("*") if path.is_file())
    assert len(paths) > 100
    horses_before, begin = horses(live), time.monotonic()
    outcomes: Counter[str] = Counter()
    jobs: dict[str, Path] = {}
    for path in paths:
        with path.open("rb") as file:
            answer = send(live, {"file": (path.name, file)})
        if answer.status_code in REFUSED:
            outcomes[f"refused: {answer.json()['error']['code']}"] += 1
            assert CODES[answer.json()["error"]["code"]] == answer.status_code
        else:
            assert answer.status_code in (200, 202), (path, answer.text)
            jobs[answer.json()["id"]] = path
    for job_id, path in jobs.items():
        job = ended(live, job_id, begin + SECONDS)
        outcomes[f"{job['state']}: {job['error']['code']}" if job["error"] else job["state"]] += 1
        assert job["state"] in ("finished", "failed"), (path, job)
        if path.parent.name == "videos":
            assert (job["state"], job["kind"]) == ("finished", "video"), (path, job)
        if job["state"] == "failed":
            assert job["error"]["code"] in CODES.keys() - OURS, (path, job["error"])
            assert job["attempts"] == 0, (path, job)
    took = time.monotonic() - begin
    print(f"{len(paths)} odd files in {took:.1f} s: {dict(outcomes.most_common())}")
    assert horses(live) <= horses_before, "a worker had to be started again"
    assert "finished" in outcomes


def test_names_are_shown_and_never_used(live: Live, data_dir: Path) -> None:
    names = [
        "../../../etc/passwd",
        "<script>alert(1)</script>.jpg",
        "a\r\nX-Evil: 1.jpg",
        "x" * 5000,
        "\u202egpj.exe",
        "/",
    ]
    content = (data_dir / "photos" / "dog.jpg").read_bytes()
    for number, name in enumerate(names):
        answer = send(live, {"file": (name, content + bytes([number]))})
        assert answer.status_code == 202, answer.text
        job = ended(live, answer.json()["id"], time.monotonic() + 30)
        assert job["state"] == "finished"
        page = requests.get(f"{live.url}{job['links']['view']}", headers={"Accept": "text/html"}, timeout=10)
        assert "<script>alert" not in page.text
        saved = requests.get(f"{live.url}{job['links']['image']}?download=1", timeout=10)
        disposition = saved.headers["Content-Disposition"]
        assert disposition.startswith("attachment")
        assert "X-Evil" not in saved.headers
        assert not {"/", "\\", "<"} & set(disposition)


def send(live: Live, files: dict[str, Any]) -> requests.Response:
    """As a patient client does: a full queue is waited for."""
    while True:
        # some frames of a video show as well whether anybody dies of it
        answer = requests.post(f"{live.url}/upload", files=files, data={"every": "8"}, timeout=70)
        if answer.status_code != 429:
            return answer
        time.sleep(int(answer.headers["Retry-After"]))
        for _, file in files.values():
            file.seek(0)


def ended(live: Live, job_id: str, end: float) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = requests.get(f"{live.url}/jobs/{job_id}?wait=10", timeout=20).json()
        if job["state"] not in ("queued", "running"):
            return job
        assert time.monotonic() < end, job


def horses(live: Live) -> set[int]:
    """The worker processes below those that announce themselves: these die when a file is too much for them."""
    redis = connect(f"unix://{live.data_dir}/run/redis.sock", patient=False)
    parents = {worker.pid for worker in Fleet(redis).workers()}
    redis.close()
    assert parents
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status[1]) in parents and b"spawn_main" in command:
                found.add(int(entry.name))
    assert found, "no horse was found"
    return found | parents
