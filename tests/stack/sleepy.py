"""A worker whose model sleeps: all of the real path (queue, storage, tally) without a picture being looked at.

The name of the file says for how many seconds. A video has parts that sleep as long each: with all that happens to jobs
that wait for others. `python -m tests.stack.sleepy` is a worker; the rest is for the tests
that start several of them and break things.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from rq.job import Job

from shared.errors import BadInputError
from shared.jobs import (
    InputFile,
    JobOptions,
    JobRequest,
    JobState,
    PartRequest,
    Priority,
    input_key,
    new_job_id,
    parts_key,
    parts_prefix,
    result_key,
)
from shared.queue import Fleet, JobQueue, PartOrder, PartsPendingError, Tally, connect, keys
from shared.queue.listing import Listing
from shared.results import ImageResult, ModelUsed, Source
from shared.settings import ROOT, Settings
from shared.storage import MissingObjectError, Storage, open_storage
from shared.videos import VideoOptions
from worker.resident import ResidentWorker
from worker.resident.ending import Ending

LABEL = "nap"

#: parts of a video
PARTS = 4

_parts: tuple[Storage, Tally, JobQueue] | None = None


def set_up(settings: Settings) -> dict[str, Any]:
    global _parts
    sys.modules["worker.pipeline"] = sys.modules[__name__]  # jobs name that module: `run` below is what they get
    connection = connect(settings.redis_url, patient=True)
    connection.set(f"test:horse:{os.getppid()}", os.getpid())
    _parts = (open_storage(settings), Tally(connection), JobQueue(connection, settings))
    return {"engine": "sleep"}


def run(request: dict[str, Any]) -> Ending | None:
    assert _parts is not None
    storage, tally, jobs = _parts
    job = JobRequest.model_validate(request)
    if job.video is not None:
        done = {number: 1 for number in range(PARTS) if storage.stat(_part_key(job.id, number)) is not None}
        if len(done) < PARTS:
            jobs.parts.order(job, [PartOrder(number, 1, 60) for number in range(PARTS)], done)
            raise PartsPendingError
    try:
        data = storage.get(job.input.key)
    except MissingObjectError:
        raise BadInputError("input_gone", "The uploaded file is no longer there.") from None
    time.sleep(float(job.input.filename))
    if job.video is None:
        return Ending(_document(job).to_json(), [("annotated.jpg", data)], time.monotonic())
    storage.put(result_key(job.id, "annotated.jpg"), data)
    storage.put(result_key(job.id, "result.json"), b"{}")
    tally.record(Job.key_for(job.id), {LABEL: 1}, {"total": 1.0})
    jobs.parts.drop(job.id)
    storage.delete_prefix(parts_prefix(job.id))
    return None


def _document(job: JobRequest) -> ImageResult:
    """A real one, as a worker's parent stores it."""
    now, file = datetime.now(UTC), job.input
    return ImageResult(
        id=job.id,
        created_at=job.created_at,
        started_at=now,
        finished_at=now,
        source=Source(**file.model_dump(exclude={"key"}), width=1, height=1, format="JPEG"),
        model=ModelUsed(
            name="m", family="sleep", engine="sleep", precision="f32", weights_sha256="0" * 64, input_size=(1, 1)
        ),
        options={},
        detections=[],
        counts={LABEL: 1},
        object_string="1 nap",
        text="There is a nap in this picture.",
        notes=[],
        artifacts=[],
        timings_ms={"total": 1.0},
    )


def run_part(request: dict[str, Any]) -> None:
    assert _parts is not None
    storage, _, jobs = _parts
    part = PartRequest.model_validate(request)
    video = jobs.get(part.video)
    if video is None or video.state.is_final:
        return
    time.sleep(float(video.request.input.filename))
    storage.put(_part_key(part.video, part.number), b"{}")
    jobs.parts.done(part.video, part.number, 1)


def _part_key(job_id: str, number: int) -> str:
    return parts_key(job_id, f"{number}/part.json")


class Stack:
    """A queue, a storage, and workers as processes."""

    def __init__(self, connection: redis.Redis, settings: Settings, logs: Path, environment: dict[str, str]) -> None:
        self.redis = connection
        self.settings = settings
        self.jobs = JobQueue(connection, settings)
        self.storage = open_storage(settings)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.started = 0
        self._logs = logs
        self._environment = environment

    def worker(self) -> "subprocess.Popen[bytes]":
        """Start one; it is ready when its horse is."""
        self.started += 1
        with (self._logs / f"worker-{self.started}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.stack.sleepy"],
                cwd=ROOT,
                env=os.environ | {"REDIS_URL": self.settings.redis_url, **self._environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(process)
        return process

    def ready(self, process: "subprocess.Popen[bytes]") -> bool:
        return any(worker.pid == process.pid and worker.ready for worker in Fleet(self.redis).workers())

    def horse(self, process: "subprocess.Popen[bytes]") -> int:
        """Process id of the newest horse of a worker, 0 if it has had none."""
        return int(self.redis.get(f"test:horse:{process.pid}") or 0)

    def submit(self, seconds: Iterable[float], **more: Any) -> list[str]:
        """Jobs that take so many seconds each; their inputs are stored first.

        Every third of them is bulk, every tenth a video.
        """
        requests = []
        for number, nap in enumerate(seconds):
            job_id = new_job_id()
            key = input_key(job_id, ".jpg")
            self.storage.put(key, b"\xff\xd8\xff")
            requests.append(
                JobRequest(
                    id=job_id,
                    input=InputFile(
                        key=key, filename=str(nap), content_type="image/jpeg", bytes=3, sha256=job_id + job_id
                    ),
                    model="m",
                    options=JobOptions(),
                    video=VideoOptions() if number % 10 == 9 else None,
                    cache_key=job_id + job_id,
                    created_at=datetime.now(UTC),
                    **{"priority": Priority.BULK if number % 3 == 2 else Priority.INTERACTIVE} | more,
                )
            )
        self.jobs.submit(requests)
        return [request.id for request in requests]

    def wait(self, job_ids: list[str], seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Until all of them have ended."""
        end = time.monotonic() + seconds
        left = job_ids
        while left:
            records = self.jobs.get_many(left, positions=False)
            lost = [job_id for job_id, record in zip(left, records, strict=True) if record is None]
            assert not lost, f"Redis does not know {lost}"
            left = [record.request.id for record in records if record is not None and not record.state.is_final]
            assert time.monotonic() < end, f"{len(left)} jobs have not ended: {self.account()}"
            meanwhile()
            time.sleep(0.1)

    def account(self) -> dict[str, int]:
        """Where jobs are: all but "finished" must be 0 in the end."""
        found: dict[str, int] = {state.value: 0 for state in JobState}
        found |= {"between": 0, "executions": len(list(self.redis.scan_iter("rq:execution:*")))}
        for lane in self.jobs.lanes.all:
            found["between"] += self.redis.llen(lane.intermediate_queue_key)
        parts = self.jobs.lanes.parts
        found["parts"] = self.redis.llen(parts.key) + self.redis.zcard(parts.started_job_registry.key)
        found["parts"] += len(list(self.redis.scan_iter(keys.parts("*"))))
        for state, count in Listing(self.jobs).count_by_state().items():
            found[state.value] = count
        return found

    def check(self, job_ids: list[str]) -> dict[str, int]:
        """Every job finished, with one result that was recorded once; nothing is left anywhere.

        Returns:
            Figures: attempts that were charged in all and to one job at most.
        """
        records = [record for record in self.jobs.get_many(job_ids) if record is not None]
        not_finished = [
            (record.request.id, record.state, record.error)
            for record in records
            if record.state is not JobState.FINISHED
        ]
        assert len(records) == len(job_ids)
        assert not_finished == []
        stored = {stat.key for stat in self.storage.list("results/") if stat.key.endswith("/result.json")}
        assert stored == {result_key(job_id, "result.json") for job_id in job_ids}
        assert Tally(self.redis).counts().get(LABEL) == len(job_ids)
        end = time.monotonic() + self.settings.lease + 10
        while (account := self.account()) != dict.fromkeys(account, 0) | {"finished": len(job_ids)}:
            assert time.monotonic() < end, account
            time.sleep(0.2)
        attempts = [record.attempts for record in records]
        return {"attempts": sum(attempts), "most": max(attempts, default=0)}

    def end(self) -> None:
        """End all workers, orderly."""
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.workers:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main() -> None:
    settings = Settings()
    worker = ResidentWorker(
        connect(settings.redis_url, patient=True),
        settings,
        f"sleepy-{os.getpid()}",
        setup="tests.stack.sleepy.set_up",
    )
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    main()
