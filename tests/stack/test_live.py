"""The whole service as `make run` starts it, used as a person would with curl."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.queue import connect
from shared.settings import ROOT
from tests.conftest import MODEL, Live, start_live, stop_live

pytestmark = pytest.mark.stack


def upload(live: Live, path: Path, **options: Any) -> requests.Response:
    with path.open("rb") as file:
        return requests.post(f"{live.url}/upload", files={"file": (path.name, file)}, data=options, timeout=70)


def finished(live: Live, job_id: str, seconds: float = 30) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job: dict[str, Any] = requests.get(f"{live.url}/jobs/{job_id}", timeout=10).json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    pytest.fail(f"{job_id} did not end: {job}")


def iou(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return common / (area - common)


def test_a_photo_comes_back_drawn(live: Live, data_dir: Path) -> None:
    answer = upload(live, data_dir / "photos" / "dog.jpg", score="0.3")
    assert answer.status_code == 202
    job = finished(live, answer.json()["id"])
    assert job["state"] == "finished", job
    expected = json.loads((data_dir / "expected" / "opencv_dnn_yolo-fastest.json").read_text())
    wanted = [item for item in expected["models"][MODEL]["stretch"]["dog.jpg"] if item["score"] > 0.3]
    found = job["result"]["detections"]
    assert [item["label"] for item in found] == [item["label"] for item in wanted]
    # PRECISION=auto is bfloat16, with 8 bits of mantissa, where the CPU has it
    exact = job["result"]["model"]["precision"] == "f32"
    for item, other in zip(found, wanted, strict=True):
        left, top, width, height = other["box_xywh"]
        assert iou(item["box"], [left, top, left + width, top + height]) > (0.98 if exact else 0.95)
        assert abs(item["score"] - other["score"]) < (0.01 if exact else 0.03)
    assert job["result"]["model"]["engine"] == "openvino"
    assert set(job["result"]["timings_ms"]) >= {"queue", "decode", "inference", "draw", "store", "total"}
    view = requests.get(f"{live.url}{answer.json()['url']}", timeout=10)
    assert view.headers["Content-Type"] == "image/jpeg"
    assert view.content != (data_dir / "photos" / "dog.jpg").read_bytes()
    page = requests.get(f"{live.url}{answer.json()['url']}", headers={"Accept": "text/html"}, timeout=10)
    assert "bicycle" in page.text


def test_curl_word_for_word(live: Live, data_dir: Path) -> None:
    port = live.url.rsplit(":", 1)[1]
    done = subprocess.run(
        ["curl", "-sS", "-F", f"file=@{data_dir / 'photos' / 'eagle.jpg'}", f"http://localhost:{port}/upload?wait=30"],
        capture_output=True,
        text=True,
        check=True,
    )
    job = json.loads(done.stdout)
    assert job["state"] == "finished"
    assert job["result"]["text"] == "There is a bird in this picture."


def test_curl_sees_the_answer_to_a_file_that_is_too_large(live: Live, tmp_path: Path) -> None:
    """Refused while it is still being sent: the answer must arrive, not a broken connection."""
    big = tmp_path / "big.jpg"
    big.write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * (40 * 1024 * 1024))
    for more in ([], ["-H", "Transfer-Encoding: chunked"]):
        done = subprocess.run(
            ["curl", "-sS", *more, "-w", "\n%{http_code}", "-F", f"file=@{big}", f"{live.url}/upload"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.endswith("413"), done
        assert json.loads(done.stdout.rsplit("\n", 1)[0])["error"]["code"] == "too_large"


def test_events_arrive_while_the_job_runs(live: Live, data_dir: Path) -> None:
    for score in range(310, 330):  # others before it, so that it is still waiting when we come
        job_id = upload(live, data_dir / "photos" / "kite.jpg", score=str(score / 1000)).json()["id"]
    states: list[str | None] = []
    with requests.get(f"{live.url}/jobs/{job_id}/events", stream=True, timeout=60) as answer:
        for line in answer.iter_lines(decode_unicode=True):
            states += [json.loads(line.removeprefix("data: ")).get("state")] if line.startswith("data: ") else []
    assert states.pop() is None  # the event "end"
    assert states[0] == "queued"
    assert "running" in states
    assert states[-1] == "finished"


def test_a_bad_file_costs_nobody_anything(live: Live, data_dir: Path) -> None:
    bad = upload(live, data_dir / "odd" / "images" / "truncated_image.png").json()["id"]
    good = upload(live, data_dir / "photos" / "horses.jpg", score="0.32").json()["id"]
    job = finished(live, bad)
    assert (job["state"], job["error"]["code"], job["attempts"]) == ("failed", "bad_image", 0)
    assert finished(live, good)["state"] == "finished"


def test_orientation_is_that_of_the_eye(live: Live, data_dir: Path) -> None:
    sizes = set()
    for number in (1, 6):
        job_id = upload(live, data_dir / "odd" / "exif" / f"Landscape_{number}.jpg", score="0.33").json()["id"]
        source = finished(live, job_id)["result"]["source"]
        sizes.add((source["width"], source["height"]))
    assert len(sizes) == 1


def test_a_second_photo_needs_no_second_load(live: Live, data_dir: Path) -> None:
    for score in ("0.41", "0.42", "0.43"):
        finished(live, upload(live, data_dir / "photos" / "person.jpg", score=score).json()["id"])
    log = (live.data_dir / "logs" / "worker-0.log").read_text()
    assert log.count("is loaded and warm") == 1


def test_a_model_that_is_not_installed_is_named(live: Live, data_dir: Path) -> None:
    answer = upload(live, data_dir / "photos" / "dog.jpg", model="yolov3")
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "model_not_installed"
    models = {model["name"]: model for model in requests.get(f"{live.url}/models", timeout=10).json()["models"]}
    assert models[MODEL]["installed"]
    assert models["yolov3"]["install"] == "make weights MODEL=yolov3"


def test_two_copies_and_the_things_in_the_way(live: Live, short_tmp: Path, data_dir: Path) -> None:
    port, weights = live.url.rsplit(":", 1)[1], live.data_dir.parent / "weights"
    taken = start_live(short_tmp / "taken", {"PORT": port, "WEIGHTS_DIR": str(weights)}, wait_ready=False)
    assert taken.process.wait(30) == 1
    assert f"port {port} of 127.0.0.1 is taken" in taken.output.read_text()
    same = start_live(short_tmp / "same", {"DATA_DIR": str(live.data_dir)}, wait_ready=False)
    assert same.process.wait(30) == 1
    assert "another copy runs" in same.output.read_text()
    beside = start_live(short_tmp / "beside", {"WEIGHTS_DIR": str(weights), "WEB_PROCESSES": "1"})
    try:
        answer = upload(beside, data_dir / "photos" / "dog.jpg", wait="30")
        assert answer.status_code == 422  # a form field of that name is none of ours
        job_id = upload(beside, data_dir / "photos" / "dog.jpg").json()["id"]
        assert finished(beside, job_id)["state"] == "finished"
        assert requests.get(f"{live.url}/jobs/{job_id}", timeout=10).status_code == 404
    finally:
        assert stop_live(beside) == 0
    assert "Stopped." in beside.output.read_text()


def test_without_internet_it_finds_people(short_tmp: Path, data_dir: Path) -> None:
    """A fresh clone alone: the model that ships with it is at work until the default one is there."""
    (short_tmp / "empty").mkdir()
    environment = {"WEIGHTS_SOURCE": str(short_tmp / "empty"), "WEB_PROCESSES": "1"}
    service = start_live(short_tmp / "alone", environment)
    try:
        assert "Until then the model person is used" in service.output.read_text()
        models = requests.get(f"{service.url}/models", timeout=10).json()
        assert (models["default"], models["in_use"]) == (MODEL, "person")
        street = data_dir / "pennfudan" / "PNGImages" / "FudanPed00001.png"
        job = finished(service, upload(service, street).json()["id"])
        assert (job["state"], job["model"]) == ("finished", "person"), job
        assert job["result"]["counts"]["person"] >= 1
        answer = upload(service, street, model=MODEL)
        assert answer.json()["error"]["code"] == "model_not_installed"
    finally:
        stop_live(service)


def test_without_weights_the_page_says_so(short_tmp: Path, data_dir: Path) -> None:
    """Nothing to fetch from: the service is up, says what is missing, and takes the files when they come."""
    (short_tmp / "nothing").mkdir()
    catalog = short_tmp / "nothing" / "catalog.toml"
    catalog.write_text((ROOT / "weights" / "catalog.toml").read_text().replace('fallback = "person"\n', ""))
    environment = {"WEIGHTS_SOURCE": str(short_tmp / "nothing"), "CATALOG": str(catalog), "WEB_PROCESSES": "1"}
    service = start_live(short_tmp / "bare", environment, wait_ready=False)
    try:
        end = time.monotonic() + 60
        message = ""
        while "make weights" not in message and time.monotonic() < end:
            time.sleep(0.2)
            try:
                checks = requests.get(f"{service.url}/readyz", timeout=10).json()["checks"]
            except (requests.ConnectionError, KeyError):
                continue
            message = checks["worker"]["message"]
        assert f"make weights MODEL={MODEL}" in message
        assert upload(service, data_dir / "photos" / "dog.jpg").json()["error"]["code"] == "model_not_installed"
        for name in (f"{MODEL}.cfg", f"{MODEL}.weights", "coco.names"):
            shutil.copy(data_dir / "weights" / name, service.data_dir.parent / "weights" / name)
        end = time.monotonic() + 30
        while requests.get(f"{service.url}/readyz", timeout=10).status_code != 200 and time.monotonic() < end:
            time.sleep(0.2)
        job = finished(service, upload(service, data_dir / "photos" / "dog.jpg").json()["id"])
        assert job["state"] == "finished", job
    finally:
        stop_live(service)


def test_a_killed_worker_and_a_killed_redis_lose_nothing(short_tmp: Path, data_dir: Path, live: Live) -> None:
    """kill -9 of the worker in the middle of work, then of Redis; the supervisor brings both back."""
    weights = str(live.data_dir.parent / "weights")
    service = start_live(short_tmp / "mortal", {"WEIGHTS_DIR": weights, "LEASE": "5", "WEB_PROCESSES": "1"})
    try:
        names = ["dog", "eagle", "giraffe", "horses", "kite", "person", "scream"]
        jobs = [
            upload(service, data_dir / "photos" / f"{name}.jpg", score=score).json()["id"]
            for score in ("0.2", "0.3", "0.4", "0.5", "0.6")
            for name in names
        ]
        waiting = requests.get(f"{service.url}/jobs?state=queued", timeout=10).json()["jobs"]
        assert waiting, "nothing left to interrupt"
        os.kill(_pid(service, "-m worker"), signal.SIGKILL)
        time.sleep(1.5)
        os.kill(_pid(service, "redis.sock"), signal.SIGKILL)
        time.sleep(3)
        for job_id in jobs:
            assert finished(service, job_id, seconds=60)["state"] == "finished"
        # Redis may have forgotten its last second: what was claimed in it lies between the queues again, with its
        # result stored, until the lease has passed
        redis = connect(f"unix://{service.data_dir}/run/redis.sock", patient=False)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            between, running = redis.llen("rq:queue:dropsight:intermediate"), redis.zcard("rq:wip:dropsight")
            if not between and not running:
                break
            time.sleep(0.2)
        assert (between, running) == (0, 0)
        redis.close()
    finally:
        assert stop_live(service) == 0


def _pid(service: Live, part: str) -> int:
    """The process of that service whose command line has this part."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (entry / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        here = str(service.data_dir)
        if part in command and (here in environment or here in command) and "spawn_main" not in command:
            return int(entry.name)
    pytest.fail(f"no process with {part!r}")
