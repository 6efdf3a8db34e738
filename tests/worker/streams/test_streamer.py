"""Streams through the queue, with real processes on a real Redis."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import redis

from shared.jobs import JobOptions, JobState, new_job_id, result_key, result_prefix
from shared.queue import CancelOutcome, Fleet, connect, keys
from shared.queue.streams import StreamQueue, StreamRecord
from shared.settings import ROOT, Settings
from shared.storage import Storage, open_storage
from shared.streams import LATEST_FRAME, StreamOptions, StreamRequest, StreamResult, StreamState
from tests.worker.resident_bench import wait_for as wait_for_soon
from tests.worker.streams.servers import Camera

pytestmark = pytest.mark.stack

LEASE = 3
#: processes are started, also on a machine that is busy
wait_for = partial(wait_for_soon, seconds=60)


class Bench:
    """A queue of streams, storage, and streamers as processes."""

    def __init__(self, connection: redis.Redis, settings: Settings, logs: Path) -> None:
        self.redis = connection
        self.queue = StreamQueue(connection, settings)
        self.storage: Storage = open_storage(settings)
        self._settings = settings
        self._log = logs / "streamers.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def streamer(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.streams.process"],
                cwd=ROOT,
                env=os.environ
                | {
                    "REDIS_URL": self._settings.redis_url,
                    "DATA_DIR": str(self._settings.data_dir),
                    "WEIGHTS_DIR": str(self._settings.weights_dir),
                    "LEASE": str(LEASE),
                    "STREAM_HOSTS": "127.0.0.1",
                    "STREAM_SEGMENT_SECONDS": "2",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        name = f"streamer-{process.pid}"
        fleet = Fleet(self.redis, keys.STREAMERS)
        wait_for(lambda: any(each.name == name and each.ready for each in fleet.workers()))
        return process

    def submit(self, url: str, **options: object) -> str:
        request = StreamRequest(
            id=new_job_id(),
            url="shown",
            model="squares",
            options=JobOptions(),
            stream=StreamOptions.model_validate(options),
            created_at=datetime.now(UTC),
        )
        self.queue.submit(request, url)
        return request.id

    def get(self, stream_id: str) -> StreamRecord:
        record = self.queue.get(stream_id)
        assert record is not None
        return record

    def frames(self, stream_id: str) -> int:
        progress = self.get(stream_id).progress
        return progress.frames if progress is not None else 0

    def ended(self, stream_id: str) -> StreamRecord:
        wait_for(lambda: self.get(stream_id).state.is_final)
        return self.get(stream_id)

    def result(self, stream_id: str) -> StreamResult:
        return StreamResult.model_validate_json(self.storage.get(result_key(stream_id, "result.json")))

    def state(self, stream_id: str) -> StreamState:
        return StreamState.model_validate_json(self.storage.get(result_key(stream_id, "state.json")))

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def bench(redis_url: str, tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path / "data", weights_dir=tmp_path)
    connection = connect(redis_url, patient=False)
    bench = Bench(connection, settings, tmp_path)
    yield bench
    bench.end()
    connection.close()


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.die()


def test_a_killed_streamer_costs_seconds_and_a_stop_gives_the_summary(bench: Bench, camera: Camera) -> None:
    process = bench.streamer()
    url = f"{camera.url.replace('//', '//anna:secret@')}/live.mjpg"
    stream_id = bench.submit(url)
    wait_for(lambda: bench.get(stream_id).progress is not None and bench.state(stream_id).last_segment >= 1)
    before = bench.state(stream_id)
    process.kill()
    bench.streamer()
    wait_for(lambda: bench.get(stream_id).attempts == 1 and bench.frames(stream_id) > before.frames + 10)
    assert bench.queue.stop(stream_id) is CancelOutcome.STOPPING
    record = bench.ended(stream_id)
    assert record.state is JobState.FINISHED
    result = bench.result(stream_id)
    assert result.reason == "stopped"
    assert result.connections == 2
    assert result.frames > before.frames
    assert result.totals.counts["square"] >= 2
    assert result.seconds > (before.segments[0].started_at - before.started_at).total_seconds()
    numbers = [segment.number for segment in result.segments]
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers))
    for segment in result.segments:
        assert bench.storage.stat(result_key(stream_id, segment.name)) is not None
    # the password was in one place, and is no longer
    assert bench.queue.url(stream_id) is None
    stored = [bench.storage.get(result_key(stream_id, name)) for name in ("result.json", "state.json")]
    assert not any(b"secret" in document for document in stored)
    assert "secret" not in bench.log()
    assert not any(b"secret" in value for value in bench.redis.hgetall(f"rq:job:{stream_id}").values())


def test_a_crash_of_the_process_with_the_model_does_not_end_the_stream(bench: Bench, camera: Camera) -> None:
    parent = bench.streamer()
    stream_id = bench.submit(f"{camera.url}/live.mjpg", seconds=60)
    wait_for(lambda: bench.frames(stream_id) > 5)
    os.kill(int(bench.redis.lrange("test:set_up", -1, -1)[0]), signal.SIGKILL)
    wait_for(lambda: bench.get(stream_id).attempts == 1 and bench.frames(stream_id) > 5)
    assert parent.poll() is None


def test_a_streamer_that_is_told_to_stop_hands_over(bench: Bench, camera: Camera) -> None:
    process = bench.streamer()
    stream_id = bench.submit(f"{camera.url}/live.mjpg")
    wait_for(lambda: bench.frames(stream_id) > 10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert bench.get(stream_id).state is JobState.QUEUED
    state = bench.state(stream_id)
    assert state.last_segment >= 1  # also what was being written
    bench.streamer()
    wait_for(lambda: bench.frames(stream_id) > state.frames + 5)
    assert bench.get(stream_id).attempts == 0


def test_a_deleted_stream_leaves_nothing(bench: Bench, camera: Camera) -> None:
    bench.streamer()
    stream_id = bench.submit(f"{camera.url}/live.mjpg")
    wait_for(lambda: bench.storage.stat(result_key(stream_id, LATEST_FRAME)) is not None)
    assert bench.queue.forget(stream_id)
    bench.storage.delete_prefix(result_prefix(stream_id))
    other = bench.submit(f"{camera.url}/missing")  # taken when the first is gone
    assert bench.ended(other).error is not None
    assert bench.get(other).error.code == "url_failed"  # type: ignore[union-attr]
    assert list(bench.storage.list(result_prefix(stream_id))) == []
    assert bench.queue.get(stream_id) is None
    assert bench.queue.url(stream_id) is None
    assert bench.queue.url(other) is None


def test_a_stream_that_nobody_has_taken_is_canceled(bench: Bench) -> None:
    stream_id = bench.submit("rtsp://anna:secret@cam.lan/")
    assert bench.get(stream_id).position == 1
    assert bench.queue.stop(stream_id) is CancelOutcome.CANCELED
    assert bench.get(stream_id).state is JobState.CANCELED
    assert bench.queue.url(stream_id) is None
    assert bench.queue.stop(stream_id) is CancelOutcome.TOO_LATE
