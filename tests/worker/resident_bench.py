"""A queue and workers as processes, for the tests of the resident worker. `resident_jobs` has what they run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import redis
from rq import Retry

from shared.jobs import InputFile, JobOptions, JobRequest, new_job_id
from shared.queue import Fleet, JobQueue, JobRecord, keys
from shared.settings import ROOT, Settings

LEASE = 3
TIMEOUT = 2
RETRIES = 2


class Bench:
    """A queue, and workers as processes."""

    def __init__(self, connection: redis.Redis, settings: Settings, logs: Path) -> None:
        self.redis = connection
        self.settings = settings
        self.jobs = JobQueue(connection, settings)
        self.queue = self.jobs.lanes.interactive
        self.workers: list[subprocess.Popen[bytes]] = []
        self._logs = logs

    def worker(self, **environment: str) -> "subprocess.Popen[bytes]":
        with (self._logs / f"worker-{len(self.workers)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.resident_jobs"],
                cwd=ROOT,
                env=os.environ
                | {
                    "REDIS_URL": self.settings.redis_url,
                    "WEIGHTS_DIR": str(self.settings.weights_dir),
                    "LEASE": str(LEASE),
                    "DATA_DIR": str(self.settings.data_dir),
                    **environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.workers.append(process)
        name = f"test-{process.pid}"
        wait_for(lambda: any(worker.name == name and worker.ready for worker in Fleet(self.redis).workers()))
        return process

    def log(self, number: int = 0) -> str:
        return (self._logs / f"worker-{number}.log").read_text(errors="replace")

    def submit(self, function: str, filename: str = "x", timeout: int = TIMEOUT, **more: Any) -> str:
        request = JobRequest(
            id=new_job_id(),
            input=InputFile(key="inputs/x", filename=filename, content_type="image/jpeg", bytes=1, sha256="0" * 64),
            model="m",
            options=JobOptions(),
            cache_key="0" * 64,
            created_at=datetime.now(UTC),
            **more,
        )
        lane = self.jobs.lanes.of(request.priority)
        job = lane.create_job(
            function if "." in function else f"tests.worker.resident_jobs.{function}",
            kwargs={"request": request.model_dump(mode="json")},
            job_id=request.id,
            timeout=timeout,
            result_ttl=60,
            failure_ttl=60,
            retry=Retry(max=RETRIES),
        )
        lane.enqueue_job(job)
        if request.deadline is not None:
            self.redis.zadd(keys.DEADLINES, {request.id: request.deadline.timestamp()})
        return request.id

    def get(self, job_id: str) -> JobRecord:
        record = self.jobs.get(job_id)
        assert record is not None
        return record

    def ended(self, job_id: str, seconds: float = 20) -> JobRecord:
        wait_for(lambda: self.get(job_id).state.is_final, seconds)
        return self.get(job_id)

    def count(self, event: str, job_id: str) -> int:
        return int(self.redis.get(f"test:{event}:{job_id}") or 0)

    def started(self, job_id: str, times: int = 1) -> None:
        wait_for(lambda: self.count("started", job_id) >= times)

    def horses(self) -> list[int]:
        """The process ids of all horses that were ever started."""
        return [int(pid) for pid in self.redis.lrange("test:set_up", 0, -1)]

    def nothing_left(self) -> None:
        """No job is stuck between queues or in the registry of running jobs."""
        for lane in self.jobs.lanes:
            assert self.redis.llen(lane.key) == 0
            # a job canceled between dequeue and start may be on its way to the horse: it goes sooner than its lease
            wait_for(partial(lambda key: self.redis.llen(key) == 0, lane.intermediate_queue_key), LEASE / 2)
            assert self.redis.zcard(lane.started_job_registry.key) == 0
        # a last heartbeat may come after the end; what it writes expires with the lease
        wait_for(lambda: list(self.redis.scan_iter("rq:execution:*")) == [], LEASE + 2)

    def end(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
