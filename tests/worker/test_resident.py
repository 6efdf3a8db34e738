"""The resident worker, with real processes on a real Redis."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rq.utils
from rq import Queue, Worker
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from shared.jobs import JobState, Priority, input_key, new_job_id
from shared.queue import Fleet, keys
from shared.queue.connection import text
from shared.queue.events import KEPT_AFTER_END
from shared.queue.overview import Overview
from shared.settings import ROOT
from tests.worker.resident_bench import LEASE, RETRIES, Bench, alive, wait_for
from worker.resident import ResidentWorker, scripts
from worker.resident.pace import clock_lead

GRACE = 5

pytestmark = pytest.mark.stack


def test_the_model_stays_in_memory(bench: Bench) -> None:
    bench.worker()
    for _ in range(3):
        assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == 1
    ran_in = {event.split()[2] for event in bench.redis.lrange("test:events", 0, -1)}
    assert ran_in == {str(bench.horses()[0]).encode()}
    bench.nothing_left()


def test_a_job_longer_than_the_lease_runs_once(bench: Bench) -> None:
    bench.worker()
    bench.worker()
    job_id = bench.submit("slow", filename=str(2 * LEASE), timeout=60)
    assert bench.ended(job_id).state is JobState.FINISHED
    assert bench.count("started", job_id) == 1
    bench.nothing_left()


def test_bad_input_fails_at_once_and_the_horse_lives(bench: Bench) -> None:
    bench.worker()
    record = bench.ended(bench.submit("bad_input"))
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert (record.error.code, record.error.message) == ("bad_image", "This is no picture.")
    assert bench.count("started", record.request.id) == 1
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert len(bench.horses()) == 1
    bench.nothing_left()


@pytest.mark.parametrize(
    ("function", "code"),
    [("broken", "internal"), ("out_of_memory", "out_of_memory"), ("bad_alloc", "out_of_memory")],
)
def test_faults_of_ours_are_retried_then_told_in_public_words(bench: Bench, function: str, code: str) -> None:
    bench.worker()
    record = bench.ended(bench.submit(function))
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error.code == code
    assert "passwd" not in record.error.message
    assert bench.count("started", record.request.id) == 1 + RETRIES
    assert record.attempts == RETRIES
    assert len(bench.horses()) == 1
    bench.nothing_left()


@pytest.mark.parametrize("function", ["storage_away_twice", "storage_full_twice"])
def test_a_part_that_is_away_or_full_costs_no_attempt(bench: Bench, function: str) -> None:
    bench.worker()
    record = bench.ended(bench.submit(function))
    assert record.state is JobState.FINISHED
    assert record.attempts == 0
    assert bench.count("started", record.request.id) == 3
    job = Job.fetch(record.request.id, connection=bench.redis, serializer=JSONSerializer)
    assert job.retries_left == RETRIES
    bench.nothing_left()


def test_a_crash_is_survived(bench: Bench) -> None:
    bench.worker()
    record = bench.ended(bench.submit("crash_once"))
    assert record.state is JobState.FINISHED
    assert record.attempts == 1
    assert len(bench.horses()) == 2
    bench.nothing_left()


def test_poison_is_tried_three_times_and_the_queue_moves_on(bench: Bench) -> None:
    bench.worker()
    poison, after = bench.submit("crash"), bench.submit("quick")
    record = bench.ended(poison)
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error.code == "crashed"
    assert bench.count("started", poison) == 1 + RETRIES
    assert bench.ended(after).state is JobState.FINISHED
    bench.nothing_left()


def test_a_job_that_eats_the_memory_is_ended_by_name(bench: Bench) -> None:
    """The worker's own limit, below the container's: three tries, an honest code, and the queue moves on."""
    worker = bench.worker(WORKER_MEMORY_MB="250")
    poison, after = bench.submit("bomb", timeout=60), bench.submit("quick")
    record = bench.ended(poison)
    assert (record.state, record.error and record.error.code) == (JobState.FAILED, "out_of_memory")
    assert (bench.count("started", poison), record.attempts) == (1 + RETRIES, RETRIES)
    assert bench.count("ran", poison) == 0
    assert bench.ended(after).state is JobState.FINISHED
    assert worker.poll() is None
    bench.nothing_left()


def test_a_slow_job_is_ended_at_its_limit_and_the_horse_lives(bench: Bench) -> None:
    bench.worker()
    begin = time.monotonic()
    record = bench.ended(bench.submit("slow", filename="60", timeout=1))
    assert time.monotonic() - begin < 10
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error.code == "timeout"
    assert len(bench.horses()) == 1
    bench.nothing_left()


@pytest.mark.parametrize("function", ["hang_with_gil", "hang_without_gil"])
def test_a_native_hang_is_ended(bench: Bench, function: str) -> None:
    bench.worker()
    job_id = bench.submit(function, timeout=1)
    bench.started(job_id)
    begin = time.monotonic()
    bench.started(job_id, times=2)
    assert time.monotonic() - begin < 1 + GRACE + 5
    assert len(bench.horses()) == 2
    assert not alive(bench.horses()[0])
    bench.jobs.cancel(job_id)
    assert bench.ended(job_id).state is JobState.CANCELED


def test_a_killed_horse_is_brought_back_and_the_job_runs_again(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("slow", filename="1", timeout=60)
    bench.started(job_id)
    os.kill(bench.horses()[0], signal.SIGKILL)
    assert bench.ended(job_id).state is JobState.FINISHED
    assert bench.count("ran", job_id) == 1
    assert len(bench.horses()) == 2
    bench.nothing_left()


def test_a_horse_that_dies_idle_is_brought_back(bench: Bench) -> None:
    bench.worker()
    os.kill(bench.horses()[0], signal.SIGKILL)
    wait_for(lambda: len(bench.horses()) == 2)
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED


def test_a_horse_that_dies_while_loading_is_tried_again(bench: Bench) -> None:
    bench.redis.set("test:die_loading", 2)
    bench.worker()
    assert len(bench.horses()) == 3
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED


def test_a_killed_worker_takes_its_horse_along_and_another_does_the_job(bench: Bench) -> None:
    workers = [bench.worker(), bench.worker()]  # both are up before the job, which might end while one starts
    job_id = bench.submit("slow", filename="3", timeout=60)
    bench.started(job_id)
    (number,) = (number for number, each in enumerate(workers) if f"test-{each.pid}" == bench.get(job_id).worker)
    workers[number].kill()
    workers[number].wait()
    begin = time.monotonic()
    wait_for(lambda: not alive(bench.horses()[number]))
    bench.started(job_id, times=2)
    assert time.monotonic() - begin < LEASE + 20
    record = bench.ended(job_id)
    assert (record.state, record.attempts) == (JobState.FINISHED, 1)
    assert bench.count("ran", job_id) == 1
    bench.nothing_left()


def test_a_job_left_between_dequeue_and_start_is_put_back(bench: Bench) -> None:
    job_id = bench.submit("quick")
    bench.redis.lmove(bench.queue.key, bench.queue.intermediate_queue_key, "LEFT", "RIGHT")
    bench.worker()
    assert bench.ended(job_id, seconds=3 * LEASE + 5).state is JobState.FINISHED
    assert bench.get(job_id).attempts == 0
    bench.nothing_left()


def test_a_claim_whose_answer_was_lost_is_made_again_and_holds(bench: Bench) -> None:
    """Else the job would be nobody's: taken from the queue, begun, and dropped by who has begun it."""
    job_id = bench.submit("quick")
    taken = bench.jobs.lanes.take(0)
    assert taken is not None
    token = taken.token
    begin = bench.redis.register_script(scripts.BEGIN)
    started = bench.queue.started_job_registry.key
    names = [bench.queue.intermediate_queue_key, Job.key_for(job_id), "rq:worker:a", keys.events(job_id)]
    names += ["rq:execution:e", "rq:executions:j", started, keys.TURN]
    claims = [("a", "then", "older"), *[("a", "then", token)] * 2, ("b", "then", token), ("a", "later", token)]
    answers = [
        begin(keys=names, args=[job_id, keys.CANCEL, worker, moment, 1000.5, order, "j:e", LEASE, keys.TAKEN, 0])
        for worker, moment, order in claims
    ]
    assert answers == [0, 1, 1, 0, 0]
    assert bench.redis.zrange(started, 0, -1, withscores=True) == [(b"j:e", 1000.5 + LEASE)]


def test_a_worker_that_lost_its_lease_says_nothing(bench: Bench) -> None:
    """SIGSTOP for longer than the lease, then SIGCONT: the job is run by another, and ends once."""
    first = bench.worker()
    job_id = bench.submit("slow", filename="1", timeout=60)
    bench.started(job_id)
    horse = bench.horses()[0]
    for pid in (first.pid, horse):
        os.kill(pid, signal.SIGSTOP)
    bench.worker()
    record = bench.ended(job_id, seconds=4 * LEASE + 10)
    assert record.state is JobState.FINISHED
    for pid in (first.pid, horse):
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: bench.count("ran", job_id) == 2)
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    again = bench.get(job_id)
    assert (again.state, again.finished_at) == (JobState.FINISHED, record.finished_at)
    bench.nothing_left()


def test_a_jump_of_the_clock_takes_no_job_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """All leases look over when the clock is set forward or a laptop wakes up: who lives may renew them first."""
    bench.worker()
    job_id = bench.submit("slow", filename="2", timeout=60)
    bench.started(job_id)
    settings = bench.settings.model_copy(update={"lease": LEASE})
    other = ResidentWorker(bench.redis, settings, "other", setup="tests.worker.resident_jobs.set_up")

    def maintain() -> bool:
        """As the loop of a worker does."""
        due = other.should_run_maintenance_tasks
        if due:
            other.clean_registries()
        return due

    timestamp = rq.utils.current_timestamp
    with monkeypatch.context() as patch:
        patch.setattr("worker.resident.pace.clock_lead", lambda: clock_lead() + 3600)
        patch.setattr("rq.registry.current_timestamp", lambda: timestamp() + 3600)
        assert not any(maintain() for _ in range(5))
    assert not maintain(), "set back, the leases written meanwhile say nothing either"
    record = bench.ended(job_id)
    assert (record.state, record.attempts, bench.count("ran", job_id)) == (JobState.FINISHED, 0, 1)
    wait_for(maintain, LEASE + 2)
    bench.nothing_left()


def test_sigterm_lets_the_job_end_and_takes_no_other(bench: Bench) -> None:
    worker = bench.worker()
    job_id, next_id = bench.submit("slow", filename="1", timeout=60), bench.submit("quick")
    bench.started(job_id)
    worker.terminate()
    assert worker.wait(10) == 0
    assert bench.get(job_id).state is JobState.FINISHED
    assert bench.get(next_id).state is JobState.QUEUED
    assert Fleet(bench.redis).workers() == []
    assert not alive(bench.horses()[0])


def test_a_job_longer_than_the_drain_time_goes_back_to_the_front(bench: Bench) -> None:
    worker = bench.worker(DRAIN_TIMEOUT="1")
    job_id, next_id = bench.submit("slow", filename="3", timeout=60), bench.submit("quick")
    bench.started(job_id)
    worker.terminate()
    assert worker.wait(10) == 0
    assert [text(value) for value in bench.redis.lrange(bench.queue.key, 0, -1)] == [job_id, next_id]
    job = Job.fetch(job_id, connection=bench.redis, serializer=JSONSerializer)
    assert job.retries_left == RETRIES
    bench.worker()
    assert bench.ended(job_id).state is JobState.FINISHED
    assert bench.get(job_id).attempts == 0
    assert bench.ended(next_id).state is JobState.FINISHED
    bench.nothing_left()


def test_sigterm_over_and_over_loses_nothing(bench: Bench) -> None:
    jobs = [bench.submit("slow", filename="0.05", timeout=60) for _ in range(40)]
    for _ in range(4):
        worker = bench.worker()
        time.sleep(0.3)
        worker.terminate()
        assert worker.wait(10) == 0
    bench.worker()
    for job_id in jobs:
        record = bench.ended(job_id)
        assert record.state is JobState.FINISHED
        assert (bench.count("ran", job_id), record.attempts) == (1, 0)
    bench.nothing_left()


def test_a_finished_job_leaves_little_in_redis(bench: Bench) -> None:
    bench.worker()
    job_id = bench.submit("quick")
    bench.ended(job_id)
    wait_for(lambda: bench.redis.ttl(keys.events(job_id)) <= KEPT_AFTER_END)
    left = {key.decode() for key in bench.redis.scan_iter(f"*{job_id}*")} - {f"test:ran:{job_id}"}
    assert left <= {Job.key_for(job_id), keys.events(job_id)}


def test_a_job_that_others_wait_for_lets_them_run(bench: Bench) -> None:
    """The end of such a job is RQ's to write, not our one step; both end once and leave the same."""
    first = bench.submit("quick")
    second = bench.queue.create_job(
        "tests.worker.resident_jobs.quick",
        kwargs={"request": Job.fetch(first, bench.redis, JSONSerializer).kwargs["request"] | {"id": new_job_id()}},
        depends_on=first,
        result_ttl=60,
    )
    bench.queue.enqueue_job(bench.queue.setup_dependencies(second))
    assert second.get_status() == JobStatus.DEFERRED
    bench.worker()
    assert bench.ended(first).state is JobState.FINISHED
    wait_for(lambda: second.get_status() == JobStatus.FINISHED)
    assert bench.redis.exists(f"rq:results:{first}", f"rq:results:{second.id}") == 0
    bench.nothing_left()


def test_a_worker_runs_the_janitor(bench: Bench) -> None:
    bench.redis.delete(keys.JANITOR)
    orphan = bench.settings.data_dir / "storage" / input_key(new_job_id(), ".jpg")
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    os.utime(orphan, (0, 0))
    bench.worker()
    wait_for(lambda: not orphan.exists())
    assert 0 < bench.redis.ttl(keys.JANITOR) <= bench.settings.janitor_interval


def test_only_allowed_functions_run(bench: Bench, tmp_path: Path) -> None:
    bench.worker()
    record = bench.ended(bench.submit("os.system"))
    assert record.state is JobState.FAILED
    assert record.error is not None
    assert record.error.code == "internal"
    assert bench.count("started", record.request.id) == 0
    assert record.attempts == 0


def test_the_parent_imports_no_engine() -> None:
    code = (
        "import sys, worker.resident; "
        "heavy = {'cv2', 'openvino', 'keras', 'tensorflow', 'numpy', 'PIL'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_limit_is_not_taken_for_a_broken_file(bench: Bench) -> None:
    bench.worker()
    record = bench.ended(bench.submit("swallows_exceptions", filename="60", timeout=1))
    assert record.error is not None
    assert record.error.code == "timeout"


def test_what_the_log_says_of_a_job_names_it_and_its_request(bench: Bench) -> None:
    bench.worker(LOG_FORMAT="json")
    bad, crash = bench.submit("bad_input", request_id="r-bad"), bench.submit("crash", request_id="r-crash")
    assert bench.ended(bad).state is bench.ended(crash).state is JobState.FAILED
    lines = [json.loads(line) for line in bench.log().splitlines() if line.startswith("{")]
    of_horse = next(line for line in lines if line.get("job_id") == bad)
    of_parent = next(line for line in lines if "the horse died on" in line["message"])
    assert (of_horse["request_id"], of_horse["level"]) == ("r-bad", "info")
    assert (of_parent["job_id"], of_parent["request_id"], of_parent["level"]) == (crash, "r-crash", "error")
    assert of_horse["process"] != of_parent["process"]
    assert "job_id" not in next(line for line in lines if "is ready" in line["message"])


def test_what_a_worker_says_of_itself(bench: Bench) -> None:
    bench.worker()
    assert bench.ended(bench.submit("quick")).state is JobState.FINISHED
    assert bench.ended(bench.submit("crash")).state is JobState.FAILED
    deaths = RETRIES + 1
    wait_for(lambda: [(worker.restarts, worker.ready) for worker in Fleet(bench.redis).workers()] == [(deaths, True)])
    (info,) = Fleet(bench.redis).workers()
    assert info.jobs_done == 1
    if sys.platform == "linux":
        assert info.memory_bytes > 10_000_000


def test_a_failed_job_is_run_again(bench: Bench) -> None:
    job_id = bench.submit("broken", priority=Priority.BULK)
    bench.worker()
    assert bench.ended(job_id).state is JobState.FAILED
    tried = bench.count("started", job_id)
    overview = Overview(bench.jobs, bench.settings)
    overview.retry(job_id)
    record = bench.ended(job_id)
    assert (record.state, record.attempts) == (JobState.FAILED, bench.settings.job_retries)
    assert bench.count("started", job_id) == 2 * tried
    assert overview.failures(5).by_code == {"internal": 1}
    assert [each.worker for each in overview.failures(5).newest] == [f"test-{bench.workers[0].pid}"]
    bench.nothing_left()


def test_rq_knows_our_queues_and_workers(bench: Bench) -> None:
    """RQ's own command line, and what dashboards are made of."""
    bench.worker()
    failed, running = bench.submit("bad_input"), bench.submit("slow", "5", timeout=20)
    bench.ended(failed)
    bench.started(running)
    waiting = bench.submit("quick", priority=Priority.BULK)
    cli = Path(sys.executable).with_name("rq")
    url = bench.settings.redis_url
    told = subprocess.run([cli, "info", "--url", url, "--raw"], capture_output=True, text=True, timeout=30, check=True)
    assert f"queue {keys.QUEUE} 0" in told.stdout
    assert f"queue {keys.BULK} 1" in told.stdout
    assert f"worker test-{bench.workers[0].pid} " in told.stdout
    assert f" busy {keys.QUEUE}, {keys.PARTS}, {keys.BULK}. jobs: 0 finished, 1 failed" in told.stdout
    plain = {queue.name: queue for queue in Queue.all(connection=bench.redis, serializer=JSONSerializer)}
    assert set(plain) == {keys.QUEUE, keys.BULK}
    assert plain[keys.BULK].get_job_ids() == [waiting]
    assert plain[keys.QUEUE].started_job_registry.get_job_ids() == [running]
    assert plain[keys.QUEUE].failed_job_registry.get_job_ids() == [failed]
    job = plain[keys.BULK].fetch_job(waiting)
    assert job is not None
    assert (job.get_status(), job.kwargs["request"]["id"]) == (JobStatus.QUEUED, waiting)
    (worker,) = Worker.all(connection=bench.redis, serializer=JSONSerializer)
    assert (worker.name, worker.get_current_job_id()) == (f"test-{bench.workers[0].pid}", running)
