"""A disk that is really full below the folder store: an honest answer, nothing in halves, and no job is lost."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Live, start_live, stop_live

pytestmark = pytest.mark.stack

MIB = 1024 * 1024
DISK = 4 * MIB
PAGE = 4096


@pytest.fixture(scope="module")
def disk(short_tmp: Path) -> Iterator[Path]:
    """A file system of a few megabytes where `make run` keeps its files."""
    path = short_tmp / "full" / "data" / "storage"
    path.mkdir(parents=True)
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run([mount, "-t", "tmpfs", "-o", f"size={DISK}", "none", path], check=False).returncode
    ):
        pytest.skip("a file system can be mounted only by root")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture(scope="module")
def service(disk: Path, data_dir: Path) -> Iterator[Live]:
    service = start_live(disk.parent.parent, {"WEB_PROCESSES": "1"})
    yield service
    assert stop_live(service) == 0


@pytest.fixture
def filler(disk: Path) -> Iterator[Path]:
    """What takes the space of others; gone after the test."""
    path = disk / "filler"
    yield path
    path.unlink(missing_ok=True)


def fill(filler: Path, left: int) -> None:
    """Take all of the disk but so many bytes."""
    free = shutil.disk_usage(filler.parent).free
    filler.write_bytes(bytes((free - left) // PAGE * PAGE))


def stored(disk: Path) -> set[str]:
    return {str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file() and path.name != "filler"}


def upload(service: Live, photo: Path, **options: str) -> requests.Response:
    with photo.open("rb") as file:
        return requests.post(f"{service.url}/upload", files={"file": (photo.name, file)}, data=options, timeout=30)


def job_of(service: Live, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = requests.get(f"{service.url}/jobs/{job_id}", timeout=10).json()
    return job


def ended(service: Live, job_id: str) -> dict[str, Any]:
    end = time.monotonic() + 20
    while (job := job_of(service, job_id))["state"] in ("queued", "running"):
        assert time.monotonic() < end, job
        time.sleep(0.1)
    return job


def test_an_upload_that_does_not_fit_is_refused_and_leaves_nothing(
    service: Live, disk: Path, filler: Path, data_dir: Path
) -> None:
    photo = data_dir / "photos" / "dog.jpg"
    before = stored(disk)
    fill(filler, left=photo.stat().st_size // 2)
    for _ in range(3):
        answer = upload(service, photo)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_full")
    assert stored(disk) == before
    fill(filler.with_name("last"), left=0)
    try:
        ready = requests.get(f"{service.url}/readyz", timeout=10)
        assert (ready.status_code, ready.json()["checks"]["storage"]["message"]) == (503, "The storage is full.")
    finally:
        filler.with_name("last").unlink()
    assert requests.get(f"{service.url}/jobs?state=queued", timeout=10).json()["jobs"] == []
    filler.unlink()
    assert requests.get(f"{service.url}/readyz", timeout=10).status_code == 200
    assert ended(service, upload(service, photo).json()["id"])["state"] == "finished"


def test_a_result_that_does_not_fit_waits_for_room(service: Live, disk: Path, filler: Path, data_dir: Path) -> None:
    photo = data_dir / "photos" / "dog.jpg"
    before = stored(disk)
    fill(filler, left=photo.stat().st_size + 20 * PAGE)
    answer = upload(service, photo, score="0.31")
    assert answer.status_code == 202
    job_id = answer.json()["id"]
    log = service.data_dir / "logs" / "worker-0.log"
    end = time.monotonic() + 20
    while log.read_text().count(f"job {job_id}: storage_full") < 3:
        assert time.monotonic() < end, job_of(service, job_id)
        time.sleep(0.1)
    job = job_of(service, job_id)
    assert job["state"] in ("queued", "running")
    # what is small enough may be there, whole; it belongs to no result yet
    assert stored(disk) - before - {f"results/{job_id}/thumbnail.jpg"} == {f"inputs/{job_id}.jpg"}
    assert requests.get(f"{service.url}/results/{job_id}/annotated.jpg", timeout=10).status_code == 404
    filler.unlink()
    job = ended(service, job_id)
    assert (job["state"], job["attempts"]) == ("finished", 0)
    drawn = requests.get(f"{service.url}/results/{job_id}/annotated.jpg", timeout=10).content
    assert drawn.startswith(b"\xff\xd8")
    assert drawn.endswith(b"\xff\xd9")
