"""The janitor on a real Redis and a folder store with objects as old as the test wants them."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from rq.job import Job

from shared.errors import TransientError
from shared.jobs import InputFile, JobOptions, JobRequest, input_key, new_job_id, result_key
from shared.queue import JobQueue, keys
from shared.settings import DAY, HOUR, MINUTE, Settings
from shared.storage import open_storage
from shared.trainings import StoredDataset, dataset_document, dataset_key, run_prefix, training_key
from worker.janitor import Janitor, Swept, sweep


class Attic:
    """A store whose objects have an age, and the queue beside it."""

    def __init__(self, settings: Settings, connection: redis.Redis) -> None:
        self.settings = settings
        self.storage = open_storage(settings)
        self.storage.prepare()
        self.root = settings.data_dir / "storage"
        self.jobs = JobQueue(connection, settings)

    def put(self, key: str, age: float) -> str:
        self.storage.put(key, b"x")
        moment = time.time() - age
        os.utime(self.root / key, (moment, moment))
        return key

    def input(self, age: float, job_id: str = "") -> str:
        job_id = job_id or new_job_id()
        self.put(input_key(job_id, ".jpg"), age)
        return job_id

    def result(self, age: float, job_id: str = "") -> str:
        job_id = job_id or new_job_id()
        for name in ("annotated.jpg", "thumbnail.jpg", "result.json"):
            self.put(result_key(job_id, name), age)
        return self.input(age + 60, job_id)

    def submit(self, job_id: str) -> str:
        file = InputFile(
            key=input_key(job_id, ".jpg"), filename="a", content_type="image/jpeg", bytes=1, sha256="0" * 64
        )
        request = JobRequest(
            id=job_id,
            input=file,
            model="m",
            options=JobOptions(),
            cache_key="0" * 64,
            created_at=datetime.now(UTC),
        )
        self.jobs.submit([request])
        return job_id

    def names(self) -> set[str]:
        return {stat.key for stat in self.storage.list("")}

    def of(self, job_id: str) -> set[str]:
        return {key for key in self.names() if job_id in key}

    def sweep(self) -> Swept:
        return Janitor(self.storage, self.jobs, self.settings).sweep()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, data_dir=tmp_path / "data", weights_dir=tmp_path)


@pytest.fixture
def attic(settings: Settings, connection: redis.Redis) -> Attic:
    return Attic(settings, connection)


def test_results_live_as_long_as_promised(attic: Attic) -> None:
    young, old = attic.result(age=7 * DAY - MINUTE), attic.result(age=7 * DAY + MINUTE)
    assert attic.sweep() == Swept(expired=1)
    assert len(attic.of(young)) == 4
    assert attic.of(old) == set()


def test_an_emptied_redis_costs_no_result(attic: Attic) -> None:
    job_id = attic.submit(attic.result(age=DAY))
    attic.jobs.redis.flushall()
    assert attic.sweep() == Swept()
    assert len(attic.of(job_id)) == 4


def test_what_a_job_needs_stays_however_old(attic: Attic) -> None:
    waiting = attic.submit(attic.input(age=30 * DAY))
    failed = attic.submit(attic.input(age=30 * DAY))
    attic.jobs.redis.hset(Job.key_for(failed), "status", "failed")
    again = attic.submit(attic.result(age=30 * DAY))
    assert attic.sweep() == Swept()
    assert [len(attic.of(job_id)) for job_id in (waiting, failed, again)] == [1, 1, 4]


def test_orphans_go_after_the_grace(attic: Attic) -> None:
    uploading, forgotten = attic.input(age=MINUTE), attic.input(age=HOUR + MINUTE)
    half = attic.input(age=HOUR + MINUTE)
    attic.put(result_key(half, "annotated.jpg"), age=HOUR + MINUTE)
    storing = attic.input(age=HOUR + MINUTE)
    attic.put(result_key(storing, "annotated.jpg"), age=1)
    assert attic.sweep() == Swept(orphans=2)
    assert [len(attic.of(job_id)) for job_id in (uploading, forgotten, half, storing)] == [1, 0, 0, 2]


def test_what_is_not_ours_stays(attic: Attic) -> None:
    kept = {attic.put(key, age=99 * DAY) for key in ("inputs/notes.txt", "other/x.jpg", "results/readme.txt")}
    assert attic.sweep() == Swept()
    assert attic.names() == kept


def test_broken_off_uploads_go(attic: Attic) -> None:
    for name, age in (("a", DAY + MINUTE), ("b", MINUTE)):
        file = attic.root / ".tmp" / name
        file.write_bytes(b"x")
        os.utime(file, (time.time() - age,) * 2)
    assert attic.sweep() == Swept(temporary=1)
    assert [path.name for path in (attic.root / ".tmp").iterdir()] == ["b"]


def test_entries_of_jobs_that_are_gone_go(attic: Attic) -> None:
    there, gone, canceled = (attic.submit(attic.input(age=0)) for _ in range(3))
    attic.jobs.cancel(canceled)
    for job_id in (gone, canceled):
        attic.jobs.redis.delete(Job.key_for(job_id))
    assert attic.sweep() == Swept(entries=3)  # two of our list, one of RQ's canceled registry
    assert attic.jobs.redis.zrange(keys.JOBS, 0, -1) == [there.encode()]
    assert attic.sweep() == Swept()


def test_without_redis_nothing_is_deleted(attic: Attic, settings: Settings) -> None:
    old = attic.result(age=30 * DAY)
    with pytest.raises(TransientError):
        sweep(settings.model_copy(update={"redis_url": f"unix://{settings.data_dir}/no.sock"}))
    assert len(attic.of(old)) == 4


def test_one_worker_at_a_time(attic: Attic) -> None:
    assert attic.jobs.claim_sweep(300)
    assert not attic.jobs.claim_sweep(300)


def test_by_hand(attic: Attic, settings: Settings) -> None:
    attic.result(age=8 * DAY)
    assert sweep(settings) == Swept(expired=1)
    assert attic.names() == set()


def test_trainings_that_ended_stay_and_broken_ones_go(attic: Attic) -> None:
    """Models and data are kept until somebody deletes them; what nobody can find any more is not."""
    old = 2 * attic.settings.orphan_ttl
    finished, canceled, fresh = (new_job_id() for _ in range(3))
    kept = [attic.put(training_key(finished, name), old) for name in ("files/last.npz", "report.json", "result.json")]
    attic.put(f"{run_prefix(canceled)}last.npz", old)
    kept.append(attic.put(f"{run_prefix(fresh)}last.npz", MINUTE))
    data = StoredDataset(name="0" * 64, key=attic.put(dataset_key(new_job_id()), old), filename="a.zip")
    attic.storage.put(dataset_document(data.name), data.model_dump_json().encode())
    kept += [data.key, dataset_document(data.name), attic.put("datasets/mine/a.zip", old), attic.put("models/m/x", old)]
    kept.append(attic.put(dataset_key(new_job_id()), MINUTE))
    attic.put(dataset_key(new_job_id()), old)
    assert Janitor(attic.storage, attic.jobs, attic.settings).sweep().orphans == 2
    assert sorted(stat.key for stat in attic.storage.list("")) == sorted(kept)
