"""Jobs that are stopped, canceled or deleted at whatever moment, with real processes on a real Redis."""

import multiprocessing
import random
import signal
import threading
import time

import pytest
from rq.command import send_command
from rq.executions import Execution
from rq.job import Job

from shared.jobs import JobState, Priority
from shared.queue import CancelOutcome, keys
from shared.queue.connection import text
from tests.worker.resident_bench import Bench, wait_for
from worker.resident import ResidentWorker

pytestmark = pytest.mark.stack


def assert_it_stops(bench: Bench, job_id: str, *, seconds: float, horses: int) -> None:
    """In time, and the worker, which has then had so many processes with models, goes on."""
    begin = time.monotonic()
    assert bench.jobs.cancel(job_id) is CancelOutcome.STOPPING
    assert bench.ended(job_id).state is JobState.CANCELED
    assert time.monotonic() - begin < seconds
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == horses
    bench.nothing_left()


def test_a_job_that_waits_for_storage_can_be_stopped(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("storage_away", timeout=60)
    bench.started(job_id, times=4)  # by now the pauses are long
    assert_it_stops(bench, job_id, seconds=2, horses=1)


def test_stopping_a_job_keeps_the_model_warm(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("slow", filename="60", timeout=60)
    bench.started(job_id)
    assert_it_stops(bench, job_id, seconds=10, horses=1)
    assert bench.jobs.cancel(job_id) is CancelOutcome.CANCELED
    assert bench.count("ran", job_id) == 0


def test_stopping_a_hung_job_ends_its_process(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("hang_without_gil", timeout=60)
    bench.started(job_id)
    assert_it_stops(bench, job_id, seconds=10, horses=2)


def test_a_waiting_job_is_canceled_at_once(bench: Bench) -> None:
    job_id = bench.submit("quick")
    assert bench.jobs.cancel(job_id) is CancelOutcome.CANCELED
    assert bench.get(job_id).state is JobState.CANCELED
    bench.worker()
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert bench.count("ran", job_id) == 0


def test_a_cancel_between_dequeue_and_start_holds(bench: Bench) -> None:
    """RQ issue 2160: the status alone says "queued" again once the worker has the job."""
    job_id = bench.submit("quick")
    bench.redis.hset(Job.key_for(job_id), keys.CANCEL, 1)
    bench.worker()
    assert bench.ended(job_id).state is JobState.CANCELED
    assert bench.count("ran", job_id) == 0
    bench.nothing_left()


def test_a_deleted_job_does_not_come_back(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("slow", filename="60", timeout=60)
    bench.started(job_id)
    assert bench.jobs.forget(job_id)
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert bench.jobs.get(job_id) is None
    assert bench.redis.exists(Job.key_for(job_id)) == 0
    bench.nothing_left()


def test_bulk_jobs_are_canceled_and_stopped_alike(bench: Bench) -> None:
    waiting = bench.submit("quick", priority=Priority.BULK)
    assert bench.jobs.cancel(waiting) is CancelOutcome.CANCELED
    bench.worker()
    running = bench.submit("slow", filename="60", timeout=60, priority=Priority.BULK)
    bench.started(running)
    assert bench.jobs.cancel(running) is CancelOutcome.STOPPING
    assert bench.ended(running).state is JobState.CANCELED
    killed = bench.submit("crash_once", priority=Priority.BULK)
    assert bench.ended(killed).state is JobState.FINISHED
    assert bench.count("ran", waiting) == 0
    assert bench.jobs.forget(waiting)
    bench.nothing_left()


def test_deleting_at_any_moment_leaves_nothing(bench: Bench) -> None:
    """RQ's late heartbeats would bring the hash of a deleted job back, without an end."""
    bench.worker()
    rng = random.Random(1)
    for _ in range(40):
        job_id = bench.submit("slow", filename="0.03", timeout=60)
        time.sleep(rng.uniform(0, 0.06))
        bench.jobs.forget(job_id)
    last = bench.submit("quick")
    assert bench.ended(last).state is JobState.FINISHED
    wait_for(lambda: [text(key) for key in bench.redis.scan_iter("rq:job:*")] == [f"rq:job:{last}"], 5)
    assert bench.redis.zcard(bench.queue.failed_job_registry.key) == 0
    bench.nothing_left()


def test_canceling_at_any_moment_is_kept(bench: Bench) -> None:
    """Also in the very moment between dequeue and start: who is told "canceled" never sees the job run to its end."""
    bench.worker()
    rng = random.Random(2)
    outcomes = []
    for _ in range(40):
        before = bench.submit("slow", filename="0.01", timeout=60)  # a quick worker would have begun the job always
        job_id = bench.submit("slow", filename="0.05", timeout=60)
        time.sleep(rng.uniform(0, 0.06))
        outcomes.append(bench.jobs.cancel(job_id))
        record = bench.ended(job_id)
        if outcomes[-1] is CancelOutcome.CANCELED:
            assert (record.state, bench.count("ran", job_id)) == (JobState.CANCELED, 0)
        elif outcomes[-1] is CancelOutcome.STOPPING:
            assert record.state is JobState.CANCELED or bench.count("ran", job_id) == 1
        assert bench.ended(before).state is JobState.FINISHED
    assert {CancelOutcome.CANCELED, CancelOutcome.STOPPING} <= set(outcomes)
    assert len(bench.horses()) == 1
    bench.nothing_left()


def test_a_job_is_stopped_as_soon_as_it_has_begun(bench: Bench) -> None:
    """Its worker hears of the wish before it knows that its horse has begun the job."""
    bench.worker()
    for _ in range(15):
        job_id = bench.submit("slow", filename="3", timeout=60)
        while bench.redis.hget(Job.key_for(job_id), "status") != b"started":
            pass
        bench.jobs.cancel(job_id)
        assert bench.ended(job_id).state is JobState.CANCELED
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == 1


def test_a_stopped_job_may_wait_for_redis_to_say_so(bench: Bench) -> None:
    """Its function is over: to kill the process now would cost the models, and not help."""
    bench.worker()
    job_id = bench.submit("slow_to_leave", filename="30", timeout=60)
    bench.started(job_id)
    bench.jobs.cancel(job_id)
    bench.redis.client_pause(2500, all=False)
    paused = time.monotonic()
    assert bench.ended(job_id).state is JobState.CANCELED
    assert time.monotonic() - paused > 2  # longer than a function may take to leave
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == 1


def test_a_job_that_hangs_when_it_is_tried_again_can_be_stopped(bench: Bench) -> None:
    """The same process has left its function before."""
    bench.worker()
    job_id = bench.submit("away_once_then_hangs", timeout=60)
    bench.started(job_id)
    assert_it_stops(bench, job_id, seconds=10, horses=2)
    assert bench.count("tried", job_id) == 2


@pytest.mark.parametrize(("last_resort", "sent"), [(True, signal.SIGKILL), (False, signal.SIGUSR1)])
def test_only_a_wish_is_gentle(bench: Bench, *, last_resort: bool, sent: signal.Signals) -> None:
    """RQ kills from its main thread what hangs a minute after its limit, also if somebody wished it stopped."""
    worker = ResidentWorker(bench.redis, bench.settings, "w")
    process = worker._horse._process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    worker._horse_pid, worker.execution = worker._horse.pid, Execution("run", "job", bench.redis)
    worker._running = worker._stopped_job_id = "job"
    if last_resort:
        worker.kill_horse()
    else:
        listening = threading.Thread(target=worker.kill_horse)
        listening.start()
        listening.join()
    process.join(10)
    assert process.exitcode == -sent


@pytest.mark.parametrize("stopped", [True, False])
def test_an_interruption_that_comes_in_a_destructor_is_not_lost(bench: Bench, *, stopped: bool) -> None:
    bench.worker()
    job_id = bench.submit("swallows_a_signal", filename="30", timeout=60 if stopped else 1)
    bench.started(job_id)
    if stopped:
        bench.jobs.cancel(job_id)
    record = bench.ended(job_id)
    if stopped:
        assert record.state is JobState.CANCELED
    else:
        assert record.error is not None
        assert record.error.code == "timeout"
    assert bench.count("ran", job_id) == 0
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == 1


def test_a_stop_that_comes_late_ends_no_other_job(bench: Bench) -> None:
    worker = bench.worker()
    first = bench.submit("quick")
    assert bench.ended(first).state is JobState.FINISHED
    second = bench.submit("slow", filename="2.5", timeout=60)
    bench.started(second)
    # what the parent does when the wish to stop `first` arrives after all: the check in Redis was before its end
    bench.redis.hset(f"rq:worker:test-{worker.pid}", "current_job", first)
    send_command(bench.redis, f"test-{worker.pid}", "stop-job", job_id=first)
    time.sleep(0.2)
    bench.redis.hset(f"rq:worker:test-{worker.pid}", "current_job", second)
    record = bench.ended(second)
    assert (record.state, record.attempts) == (JobState.FINISHED, 0)
    assert len(bench.horses()) == 1
