"""A job that the horse has got before its turn, with real processes on a real Redis."""

import os
import random
import signal
import time
import uuid

import pytest
from rq.job import Job

from shared.jobs import JobState, Priority
from shared.queue import CancelOutcome, keys
from shared.queue.connection import text
from tests.worker.resident_bench import LEASE, Bench, wait_for
from worker.resident import scripts

JOBS = "tests.worker.resident_jobs"

pytestmark = pytest.mark.stack


def waiting(bench: Bench) -> list[str]:
    return [text(value) for value in bench.redis.lrange(bench.queue.key, 0, -1)]


def test_it_goes_back_if_its_turn_does_not_come_soon(bench: Bench) -> None:
    long, second, third = bench.submit("slow", filename="60", timeout=90), bench.submit("quick"), bench.submit("quick")
    bench.worker()
    bench.started(long)
    wait_for(lambda: waiting(bench) == [second, third])
    assert bench.redis.llen(bench.queue.intermediate_queue_key) == 0
    assert bench.jobs.cancel(second) is CancelOutcome.CANCELED
    bench.worker()
    assert bench.ended(third).state is JobState.FINISHED
    assert bench.jobs.cancel(long) is CancelOutcome.STOPPING
    assert bench.ended(long).state is JobState.CANCELED
    assert (bench.count("ran", second), bench.count("ran", third), len(bench.horses())) == (0, 1, 2)
    bench.nothing_left()


def test_the_same_worker_takes_what_went_back(bench: Bench) -> None:
    jobs = [bench.submit("slow", filename="0.4", timeout=60) for _ in range(4)]
    bench.worker()
    for job_id in jobs:
        record = bench.ended(job_id)
        assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    bench.nothing_left()


def test_a_crash_is_not_its_fault(bench: Bench) -> None:
    crashing, second, third = bench.submit("crash_once"), bench.submit("quick"), bench.submit("quick")
    bench.worker()
    for job_id, attempts in ((crashing, 1), (second, 0), (third, 0)):
        record = bench.ended(job_id)
        assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, attempts, 1)
    bench.nothing_left()


def test_what_goes_back_rings_and_is_nobodys_to_begin(bench: Bench) -> None:
    """An idle worker hears of it; the order that is still on its way is void, also if an older version has the job."""
    job_id = bench.submit("quick")
    taken = bench.jobs.lanes.take(0)
    assert taken is not None
    rung = bench.redis.xrevrange(keys.BELL, count=1)
    back = bench.redis.register_script(scripts.PUT_BACK)
    between, job_key = bench.queue.intermediate_queue_key, Job.key_for(job_id)
    assert back(keys=[bench.queue.key, between, job_key, keys.BELL], args=[job_id, keys.TAKEN]) == 1
    assert waiting(bench) == [job_id]
    assert bench.redis.xrevrange(keys.BELL, count=1) != rung
    bench.redis.lmove(bench.queue.key, between, "LEFT", "RIGHT")
    begin = bench.redis.register_script(scripts.BEGIN)
    names = [between, job_key, "rq:worker:a", keys.events(job_id), "rq:execution:e", "rq:executions:j", "started"]
    words: list[str | int | float] = [
        job_id,
        keys.CANCEL,
        "a",
        "then",
        1000.5,
        taken.token,
        "j:e",
        LEASE,
        keys.TAKEN,
        0,
    ]
    assert begin(keys=[*names, keys.TURN], args=words) == 0


def test_bulk_has_its_turns_though_others_go_back(bench: Bench) -> None:
    """Parts of videos and bulk jobs take turns, also if each is taken ahead and put back before it runs."""
    named = {}
    for _ in range(12):
        named[uuid.uuid4().hex] = "part"
    for job_id in named:
        request = {"id": job_id, "input": {"filename": "0.15"}}
        lane = bench.jobs.lanes.parts
        job = lane.create_job(f"{JOBS}.slow", kwargs={"request": request}, job_id=job_id, timeout=60, result_ttl=60)
        lane.enqueue_job(job)
    for _ in range(6):
        named[bench.submit("slow", filename="0.15", timeout=60, priority=Priority.BULK)] = "bulk"
    bench.worker()
    wait_for(lambda: all(bench.count("ran", job_id) for job_id in named), 30)
    ran = [named[text(event).split()[1]] for event in bench.redis.lrange("test:events", 0, -1) if event[:3] == b"ran"]
    assert ran[:12].count("bulk") >= 5, ran


def test_none_is_taken_that_another_worker_could_have(bench: Bench) -> None:
    """Two jobs and two workers that wait: each has one, however close they come."""
    for _ in range(2):
        bench.worker()
    for _ in range(5):
        jobs = [bench.submit("slow", filename="0.3", timeout=60) for _ in range(2)]
        begin = time.monotonic()
        for job_id in jobs:
            assert bench.ended(job_id).state is JobState.FINISHED
        ran_by = {record.worker for record in map(bench.get, jobs)}
        assert len(ran_by) == 2, time.monotonic() - begin


def test_killed_horses_and_canceled_jobs_in_a_long_queue(bench: Bench) -> None:
    """Every job ends once, whatever the moment; a crash is charged to one job alone."""
    chance = random.Random(5)
    jobs = [bench.submit("slow", filename=str(chance.choice([0, 0.02, 0.05, 0.2])), timeout=60) for _ in range(60)]
    worker = bench.worker()
    kills, canceled = 0, set()
    for job_id in chance.sample(jobs, 12):
        time.sleep(chance.uniform(0, 0.15))
        if bench.jobs.cancel(job_id) is not CancelOutcome.TOO_LATE:
            canceled.add(job_id)
        if chance.random() < 0.4:
            os.kill(bench.horses()[-1], signal.SIGKILL)
            kills += 1
            born = len(bench.horses())
            wait_for(lambda born=born: len(bench.horses()) > born)  # type: ignore[misc]
    records = [bench.ended(job_id, seconds=4 * LEASE + 10) for job_id in jobs]
    for record in records:
        assert record.state is JobState.FINISHED or record.request.id in canceled
    assert sum(record.attempts for record in records) <= kills
    assert worker.poll() is None
    bench.nothing_left()
