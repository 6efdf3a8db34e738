"""Long videos on the real service: two workers, the real small model, and things that go wrong on the way."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.catalog import CatalogReader
from shared.jobs import JobOptions
from shared.queue import Fleet, JobQueue, connect, keys
from shared.settings import Settings
from shared.videos import VideoOptions
from tests.conftest import MODEL, Live, start_live, stop_live
from worker.models.registry import load_model
from worker.video_plans import limits_of, predict_with, video_model
from worker.videos.probing import probe
from worker.videos.processing import process_video

pytestmark = pytest.mark.stack

VIDEO = "one-by-one-person-detection.mp4"


class Service:
    """The service, as the tests ask it."""

    def __init__(self, live: Live, data: Path) -> None:
        self.live = live
        self._data = data
        self.redis = connect(f"unix://{live.data_dir}/run/redis.sock", patient=False)

    def send(self, name: str, folder: str = "videos", **fields: str) -> dict[str, Any]:
        with (self._data / folder / name).open("rb") as file:
            answer = requests.post(f"{self.live.url}/upload", files={"file": file}, data=fields, timeout=90)
        assert answer.status_code in (200, 202), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.live.url}/jobs/{job_id}", timeout=10).json()
        return found

    def until(self, job_id: str, condition: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not condition(job := self.job(job_id)):
            assert time.monotonic() < end, job
            time.sleep(0.05)
        return job

    def ended(self, job_id: str) -> dict[str, Any]:
        return self.until(job_id, lambda job: job["state"] not in ("queued", "running"))

    def parts_done(self, job_id: str) -> list[int]:
        """The numbers of the parts that workers say they have done, in the order of the logs."""
        logs = "".join(path.read_text() for path in sorted((self.live.data_dir / "logs").glob("worker*.log")))
        return [int(number) for number in re.findall(rf"part (\d+) of video {job_id}: ", logs)]

    def nothing_left(self) -> None:
        """No part is waiting or running, nobody works, and nothing of a video lies where it lay on the way."""
        lane = JobQueue(self.redis, Settings()).lanes.parts
        end = time.monotonic() + 30
        while True:
            left = {
                "waiting": self.redis.llen(lane.key),
                "running": self.redis.zcard(lane.started_job_registry.key),
                "hashes": list(self.redis.scan_iter(keys.parts("*"))),
                "files": [
                    str(path) for path in (self.live.data_dir / "storage" / "parts").rglob("*") if path.is_file()
                ],
                "busy": [worker.name for worker in Fleet(self.redis).workers() if worker.state == "busy"],
            }
            if not any(left.values()):
                return
            assert time.monotonic() < end, left
            time.sleep(0.1)


@pytest.fixture(scope="module")
def service(data_dir: Path, short_tmp: Path) -> Iterator[Service]:
    settings = {"WORKERS": "2", "THREADS": "1", "VIDEO_PART_SECONDS": "1", "LEASE": "4", "DEFAULT_MODEL": MODEL}
    service = Service(start_live(short_tmp / "videos", settings), data_dir)
    yield service
    service.redis.close()
    assert stop_live(service.live) == 0, service.live.output.read_text()


def has_parts(done: int) -> Callable[[dict[str, Any]], bool]:
    """Whether so many parts of a job are done, and two are running."""

    def holds(job: dict[str, Any]) -> bool:
        assert job["error"] is None, job
        parts = (job["progress"] or {}).get("parts")
        return bool(parts and parts["done"] >= done and parts["running"] == 2)

    return holds


def test_a_killed_worker_costs_its_part_and_photos_go_first(service: Service, data_dir: Path, tmp_path: Path) -> None:
    options = VideoOptions(end=30)
    job_id = service.send(VIDEO, end="30")["id"]
    service.until(job_id, has_parts(1))
    victim = Fleet(service.redis).workers()[0].pid
    os.kill(victim, signal.SIGKILL)
    photo = service.send("dog.jpg", "photos")
    assert service.ended(photo["id"])["state"] == "finished"
    assert service.job(job_id)["state"] == "running", "a photo does not wait for the video"
    job = service.ended(job_id)
    assert (job["state"], job["attempts"]) == ("finished", 0), job
    done = service.parts_done(job_id)
    assert len(done) >= 4
    assert sorted(done) == list(range(len(done))), "every part was done once, but the one that broke off"
    service.nothing_left()

    settings = Settings(
        data_dir=tmp_path,
        weights_dir=data_dir / "weights",
        engine_cache_dir=service.live.data_dir / "engine-cache",
        default_model=MODEL,
        threads=1,
    )
    model = video_model(load_model(CatalogReader(settings.catalog, MODEL).read()[MODEL], settings))
    path = data_dir / "videos" / VIDEO
    folder = tmp_path / "whole"
    folder.mkdir()
    whole = process_video(path, probe(path, limits_of(settings)), options, predict_with(model, JobOptions()), folder)
    lines = requests.get(f"{service.live.url}{job['links']['frames']}", timeout=30).content
    assert lines == (folder / "frames.jsonl").read_bytes(), "the same boxes and tracks as without parts"
    assert job["result"]["counts"] == whole.counts
    assert job["result"]["tracks"] == [track.model_dump() for track in whole.tracks]


def test_a_cancel_stops_all_parts(service: Service) -> None:
    job_id = service.send(VIDEO, score="0.3")["id"]
    running = service.until(job_id, has_parts(1))
    total = running["progress"]["parts"]["total"]
    live = service.until(job_id, lambda job: job["progress"]["live"] is not None)["links"]["live"]
    assert requests.get(f"{service.live.url}{live}", timeout=10).content.startswith(b"\xff\xd8")
    answer = requests.post(f"{service.live.url}/jobs/{job_id}/cancel", timeout=10)
    assert (answer.status_code, answer.json()["state"]) == (202, "canceled")
    service.nothing_left()
    assert len(service.parts_done(job_id)) < total
    assert service.job(job_id)["state"] == "canceled"


def test_a_part_that_fails_fails_the_video(service: Service) -> None:
    job_id = service.send(VIDEO, score="0.31")["id"]
    service.until(job_id, has_parts(0))
    (upload,) = (service.live.data_dir / "storage" / "inputs").glob(f"{job_id}.*")
    upload.unlink()
    job = service.ended(job_id)
    assert (job["state"], job["error"]["code"]) == ("failed", "input_gone")
    service.nothing_left()


def test_the_client_saves_a_video(service: Service, data_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "client"]
    done = subprocess.run(
        [*command, str(data_dir / "videos" / "h265_10bits.mp4"), "--server", service.live.url, "--save", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = ("annotated.mp4", "poster.jpg", "preview.webp", "frames.jsonl", "frames.csv", "result.json")
    assert {path.name for path in tmp_path.iterdir()} == {f"h265_10bits-{name}" for name in names}
