"""Which job is next, and which comes too late, with real processes on a real Redis."""

import time

import pytest

from shared.jobs import JobState, Priority
from shared.queue import keys
from shared.queue.connection import text
from shared.queue.listing import Listing
from tests.worker.resident_bench import LEASE, Bench, soon

GRACE = 5

pytestmark = pytest.mark.stack


def test_a_job_that_is_late_never_starts(bench: Bench) -> None:
    late = bench.submit("quick", deadline=soon(-1))
    bench.worker()
    record = bench.ended(late)
    assert (record.state, record.error and record.error.code) == (JobState.FAILED, "expired")
    assert bench.count("ran", late) == 0
    assert bench.ended(bench.submit("quick", deadline=soon(60))).state is JobState.FINISHED
    bench.nothing_left()


def test_a_late_job_found_after_the_dequeue_does_not_run(bench: Bench) -> None:
    late = bench.submit("quick", deadline=soon(-1))
    bench.redis.delete(keys.DEADLINES)  # nobody had the time to look
    bench.worker()
    record = bench.ended(late)
    assert (record.state, record.error and record.error.code) == (JobState.FAILED, "expired")
    assert (bench.count("ran", late), record.attempts) == (0, 0)
    bench.nothing_left()


def test_a_waiting_job_expires_while_every_worker_is_busy(bench: Bench) -> None:
    bench.worker()
    busy = bench.submit("slow", filename="8", timeout=60)
    bench.started(busy)
    late = bench.submit("quick", deadline=soon(1))
    record = bench.ended(late, seconds=6)
    assert (record.state, record.error and record.error.code) == (JobState.FAILED, "expired")
    assert bench.get(busy).state is JobState.RUNNING
    assert Listing(bench.jobs).count_by_state()[JobState.FAILED] == 1


@pytest.mark.parametrize("function", ["slow", "hang_without_gil"])
def test_a_running_job_is_stopped_at_its_deadline_and_not_tried_again(bench: Bench, function: str) -> None:
    bench.worker()
    begin = time.monotonic()
    record = bench.ended(bench.submit(function, filename="60", timeout=60, deadline=soon(2)))
    assert time.monotonic() - begin < 2 + GRACE + 5
    assert (record.state, record.error and record.error.code) == (JobState.FAILED, "expired")
    assert (bench.count("started", record.request.id), record.attempts) == (1, 0)
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == (1 if function == "slow" else 2)
    bench.nothing_left()


def test_interactive_comes_first_and_bulk_is_not_starved(bench: Bench) -> None:
    bulk = [bench.submit("quick", priority=Priority.BULK) for _ in range(4)]
    interactive = [bench.submit("quick") for _ in range(8)]
    bench.worker()
    for job_id in [*bulk, *interactive]:
        assert bench.ended(job_id).state is JobState.FINISHED
    order = [text(event).split()[1] for event in bench.redis.lrange("test:events", 0, -1)]
    expected = [*interactive[:4], bulk[0], *interactive[4:], *bulk[1:]]
    assert order == expected
    bench.nothing_left()


def test_positions_say_who_is_next(bench: Bench) -> None:
    bulk = [bench.submit("quick", priority=Priority.BULK) for _ in range(2)]
    interactive = [bench.submit("quick") for _ in range(6)]
    assert [bench.get(job_id).position for job_id in interactive] == [1, 2, 3, 4, 6, 7]
    assert [bench.get(job_id).position for job_id in bulk] == [5, 8]


@pytest.mark.parametrize("priority", list(Priority))
def test_an_idle_worker_answers_at_once(bench: Bench, priority: Priority) -> None:
    bench.worker()
    waits = []
    for _ in range(5):
        time.sleep(0.3)
        record = bench.ended(bench.submit("quick", priority=priority))
        assert record.started_at is not None
        waits.append((record.started_at - record.request.created_at).total_seconds())
    assert sorted(waits)[2] < 0.25  # who looks each second takes twice that


@pytest.mark.parametrize("priority", list(Priority))
def test_a_worker_killed_between_dequeue_and_start_loses_nothing(bench: Bench, priority: Priority) -> None:
    job_id = bench.submit("quick", priority=priority)
    taken = bench.jobs.lanes.take(0)  # and then nothing more is heard of this worker
    assert taken is not None
    assert taken.job_id == job_id
    bench.worker()
    record = bench.ended(job_id, seconds=3 * LEASE + 5)
    assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    bench.nothing_left()
