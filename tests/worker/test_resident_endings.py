"""Jobs whose end the horse leaves to its parent, with real processes on a real Redis."""

import os
import signal
import time

import pytest
from rq.job import Job
from rq.suspension import resume, suspend

from shared.jobs import JobState
from shared.queue import CancelOutcome, Fleet
from shared.queue.connection import text
from tests.worker.resident_bench import LEASE, RETRIES, Bench, soon, wait_for

pytestmark = pytest.mark.stack


def ending(bench: Bench, job_id: str, times: int = 1) -> None:
    wait_for(lambda: bench.count("ending", job_id) >= times)


def test_the_next_job_runs_while_one_is_ended(bench: Bench) -> None:
    bench.worker()
    first, second = bench.submit("leaves", filename="2"), bench.submit("slow", filename="0")
    bench.started(second)
    assert bench.get(first).state is JobState.RUNNING
    assert bench.ended(second).state is JobState.FINISHED
    assert bench.get(first).state is JobState.RUNNING
    assert bench.ended(first).state is JobState.FINISHED
    assert (bench.count("ran", first), bench.count("ending", first), bench.count("discarded", first)) == (1, 1, 0)
    bench.nothing_left()


def test_no_more_than_three_wait_for_their_end(bench: Bench) -> None:
    """Two, and one that the horse had already when there was room."""
    bench.worker()
    jobs = [bench.submit("leaves", filename="0.5", timeout=60) for _ in range(5)]
    ending(bench, jobs[0])
    time.sleep(0.3)
    assert [bench.count("started", job_id) for job_id in jobs] == [1, 1, 1, 0, 0]
    assert {bench.ended(job_id).state for job_id in jobs} == {JobState.FINISHED}
    bench.nothing_left()


def test_a_part_that_is_away_at_the_end_costs_no_attempt(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("leaves", filename="away twice", timeout=60)
    record = bench.ended(job_id)
    assert (record.state, record.attempts) == (JobState.FINISHED, 0)
    assert (bench.count("ending", job_id), bench.count("ran", job_id)) == (3, 1)
    bench.nothing_left()


def test_a_fault_of_ours_at_the_end_is_retried_then_told(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("leaves", filename="broken")
    record = bench.ended(job_id)
    assert record.error is not None
    assert (record.state, record.error.code, "secret" in record.error.message) == (JobState.FAILED, "internal", False)
    assert (bench.count("ending", job_id), bench.count("ran", job_id)) == (RETRIES + 1, 0)
    assert bench.ended(bench.submit("leaves")).state is JobState.FINISHED
    bench.nothing_left()


def test_storage_away_until_the_deadline(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("leaves", filename="away twice", timeout=60, deadline=soon(0.4))
    record = bench.ended(job_id)
    assert (record.state, record.error and record.error.code) == (JobState.FAILED, "expired")
    bench.nothing_left()


def test_the_end_outlives_the_horse(bench: Bench) -> None:
    """The next job's crash is not the fault of the one before, whose end goes on."""
    bench.worker()
    first, second = bench.submit("leaves", filename="1.5"), bench.submit("crash_once")
    for job_id, attempts in ((first, 0), (second, 1)):
        record = bench.ended(job_id)
        assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, attempts, 1)
    assert bench.count("ending", first) == 1
    bench.nothing_left()


def test_the_lease_is_kept_through_a_long_end(bench: Bench) -> None:
    bench.worker()
    bench.worker()
    idle = bench.submit("leaves", filename=str(2 * LEASE), timeout=60)
    ending(bench, idle)
    busy = bench.submit("slow", filename=str(2 * LEASE), timeout=60)
    for job_id in (idle, busy):
        assert (bench.ended(job_id).state, bench.get(job_id).attempts) == (JobState.FINISHED, 0)
        assert bench.count("started", job_id) == 1
    bench.nothing_left()


@pytest.mark.parametrize("how", ["once", "pool"])
def test_an_end_without_end_ends_its_worker(bench: Bench, how: str) -> None:
    """A disk that hangs: after as long as a job may take another worker does it, at nobody's cost."""
    worker = bench.worker()
    job_id = bench.submit("leaves", filename=how, timeout=1)
    ending(bench, job_id)
    assert worker.wait(15) == os.EX_TEMPFAIL, "whoever keeps the processes alive starts another"
    assert Fleet(bench.redis).workers() == []
    bench.worker()
    record = bench.ended(job_id, seconds=4 * LEASE + 10)
    assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    bench.nothing_left()


def test_an_end_without_end_behind_a_long_job_goes_back(bench: Bench) -> None:
    bench.worker()
    job_id, long = bench.submit("leaves", filename="once", timeout=1), bench.submit("slow", filename="8", timeout=60)
    bench.started(long)
    bench.worker()
    record = bench.ended(job_id, seconds=7)
    assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    assert bench.ended(long).state is JobState.FINISHED
    bench.nothing_left()


def test_the_lease_is_kept_while_the_horse_is_brought_up(bench: Bench) -> None:
    bench.worker(SLOW_SECOND_LOAD=str(2 * LEASE))
    first, second = bench.submit("leaves", filename=str(2 * LEASE), timeout=60), bench.submit("crash_once")
    bench.started(second)
    bench.worker()
    for job_id, attempts in ((first, 0), (second, 1)):
        record = bench.ended(job_id)
        assert (record.state, record.attempts, bench.count("ending", job_id)) == (
            JobState.FINISHED,
            attempts,
            int(job_id == first),
        )
    bench.nothing_left()


def test_what_is_large_comes_through_whole(bench: Bench) -> None:
    """RQ's alarm must not cut a message of the horse in two."""
    bench.worker()
    for _ in range(3):
        record = bench.ended(bench.submit("leaves_much", timeout=60))
        assert (record.state, record.attempts) == (JobState.FINISHED, 0)


def test_a_suspended_worker_ends_what_it_has_begun(bench: Bench) -> None:
    jobs = [bench.submit("leaves", filename="0.05", timeout=60) for _ in range(60)]
    bench.worker()
    ending(bench, jobs[0])
    suspend(bench.redis)
    wait_for(lambda: bench.redis.zcard(bench.queue.started_job_registry.key) == 0, 5)
    time.sleep(0.5)
    states = {bench.get(job_id).state for job_id in jobs}
    assert states == {JobState.FINISHED, JobState.QUEUED}
    assert bench.redis.llen(bench.queue.intermediate_queue_key) == 0
    resume(bench.redis)
    assert {bench.ended(job_id).state for job_id in jobs} == {JobState.FINISHED}


def test_a_killed_parent_loses_nothing(bench: Bench) -> None:
    worker = bench.worker()
    job_id = bench.submit("leaves", filename="once", timeout=60)
    ending(bench, job_id)
    worker.kill()
    worker.wait()
    bench.worker()
    record = bench.ended(job_id, seconds=4 * LEASE + 10)
    assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 1, 1)
    bench.nothing_left()


def test_a_parent_that_lost_the_lease_says_nothing(bench: Bench) -> None:
    first = bench.worker()
    job_id = bench.submit("leaves", filename="1", timeout=60)
    ending(bench, job_id)
    os.kill(first.pid, signal.SIGSTOP)
    bench.worker()
    record = bench.ended(job_id, seconds=4 * LEASE + 10)
    os.kill(first.pid, signal.SIGCONT)
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    again = bench.get(job_id)
    assert (again.state, again.finished_at) == (JobState.FINISHED, record.finished_at)
    bench.nothing_left()


def test_sigterm_lets_the_end_come(bench: Bench) -> None:
    worker = bench.worker()
    job_id = bench.submit("leaves", filename="1")
    ending(bench, job_id)
    worker.terminate()
    assert worker.wait(10) == 0
    record = bench.get(job_id)
    assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    bench.nothing_left()


def test_an_end_longer_than_the_drain_time_goes_back_to_the_front(bench: Bench) -> None:
    worker = bench.worker(DRAIN_TIMEOUT="1")
    first, next_id = bench.submit("leaves", filename="once", timeout=60), bench.submit("leaves", timeout=60)
    ending(bench, first)
    bench.started(next_id)
    last = bench.submit("leaves")
    worker.terminate()
    assert worker.wait(10) == 0
    waiting = [text(value) for value in bench.redis.lrange(bench.queue.key, 0, -1)]
    assert waiting == [first, next_id, last]
    bench.worker()
    for job_id in waiting:
        record = bench.ended(job_id)
        assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    bench.nothing_left()


def test_a_job_deleted_while_it_is_ended_leaves_nothing(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("leaves", filename="1")
    ending(bench, job_id)
    assert bench.jobs.forget(job_id)
    wait_for(lambda: bench.count("discarded", job_id) == 1)
    assert bench.jobs.get(job_id) is None
    assert bench.redis.exists(Job.key_for(job_id)) == 0
    bench.nothing_left()


def test_a_job_is_stopped_while_the_one_before_is_ended(bench: Bench) -> None:
    """The end of a job does not make its worker forget which one it is at."""
    bench.worker()
    first, second = bench.submit("leaves", filename="0.3"), bench.submit("slow", filename="60", timeout=60)
    bench.started(second)
    assert bench.ended(first).state is JobState.FINISHED
    assert bench.jobs.cancel(second) is CancelOutcome.STOPPING
    assert bench.ended(second).state is JobState.CANCELED
    assert len(bench.horses()) == 1
    bench.nothing_left()


def test_a_job_canceled_while_it_is_ended_has_no_result(bench: Bench) -> None:
    """And the one that runs meanwhile goes on."""
    bench.worker()
    first, second = bench.submit("leaves", filename="1"), bench.submit("slow", filename="1.5", timeout=60)
    bench.started(second)
    assert bench.jobs.cancel(first) is CancelOutcome.STOPPING
    assert bench.ended(first).state is JobState.CANCELED
    wait_for(lambda: bench.count("discarded", first) == 1)
    assert bench.jobs.cancel(first) is CancelOutcome.CANCELED
    assert bench.ended(second).state is JobState.FINISHED
    bench.nothing_left()
