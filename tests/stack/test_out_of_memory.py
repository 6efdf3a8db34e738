"""A worker in a container that is too small: the kernel itself ends its horse, and everybody hears why."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from shared.queue import Fleet, WorkerInfo, connect
from tests.conftest import Live, start_live, stop_live

pytestmark = pytest.mark.stack

MIB = 1024 * 1024
#: more than the models and a small photo take, less than a photo of 81 megapixels
LIMIT = 450 * MIB
SIDE = 9000
RETRIES = 1
ROOT = Path("/sys/fs/cgroup")


class Group:
    """A control group of our own with a limit of memory, of version 2 or 1.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        first = (ROOT / "memory").is_dir()
        self.folder = (ROOT / "memory" if first else ROOT) / f"dropsight-test-{time.time_ns()}"
        self.events = self.folder / ("memory.oom_control" if first else "memory.events")
        self.folder.mkdir()
        try:
            (self.folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))
        except OSError:
            self.folder.rmdir()
            raise

    def add(self, pid: int) -> None:
        """Have a process in it, with the children that it will have. What it has already counts elsewhere."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        """Processes in it that the kernel has killed for want of memory."""
        lines = dict(line.split(" ", 1) for line in self.events.read_text().splitlines())
        return int(lines["oom_kill"])

    def end(self) -> None:
        """Remove it; its processes have ended."""
        for _ in range(100):
            try:
                self.folder.rmdir()
            except OSError:
                time.sleep(0.1)
            else:
                return
        pytest.fail(f"{self.folder} cannot be removed")


@pytest.fixture
def group() -> Iterator[Group]:
    try:
        group = Group(LIMIT)
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    yield group
    group.end()


@pytest.fixture
def service(group: Group, data_dir: Path, short_tmp: Path) -> Iterator[Live]:  # ends before the group does
    environment = {"WEB_PROCESSES": "1", "LEASE": "3", "JOB_RETRIES": str(RETRIES), "WORKER_MEMORY_MB": "0"}
    service = start_live(short_tmp / "oom", environment)
    yield service
    assert stop_live(service) == 0


def photo(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, "JPEG", quality=30)
    return file.getvalue()


def upload(service: Live, content: bytes) -> dict[str, Any]:
    answer = requests.post(f"{service.url}/upload?wait=60", files={"file": ("x.jpg", content)}, timeout=70)
    job: dict[str, Any] = answer.json()
    return job


def the_worker(service: Live) -> WorkerInfo:
    with connect(f"unix://{service.data_dir}/run/redis.sock", patient=False) as redis:
        (worker,) = Fleet(redis).workers()
    return worker


def horse_of(worker: WorkerInfo) -> int:
    """The child of a worker that has the models."""
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    return next(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def test_the_kernel_ends_the_horse_and_the_job_says_so(service: Live, group: Group) -> None:
    before = the_worker(service)
    for pid in (before.pid, horse_of(before)):
        group.add(pid)
    assert upload(service, photo(200))["state"] == "finished"
    assert group.kills() == 0
    job = upload(service, photo(SIDE))
    assert (job["state"], job["error"]["code"], job["attempts"]) == ("failed", "out_of_memory", RETRIES)
    assert group.kills() == 1 + RETRIES
    assert upload(service, photo(201))["state"] == "finished"
    after = the_worker(service)
    assert (after.pid, after.name) == (before.pid, before.name), "the worker itself lives"
    assert group.kills() == 1 + RETRIES
