"""The horse's part, in this process."""

import os
import threading

from shared.queue import JobQueue
from tests.worker import resident_jobs
from tests.worker.resident_bench import Bench
from worker.resident.horse import Order, Orders, SharedWords, _HorseWorker, _run, _SoftStop


def test_a_stop_that_came_too_late_is_not_for_the_job_when_it_is_tried_again(bench: Bench) -> None:
    assert threading.current_thread() is threading.main_thread(), "RQ sets an alarm"
    resident_jobs.set_up(bench.settings)
    orders = Orders("w", os.getppid(), bench.settings, resident_jobs.ALLOWED, JobQueue, "")
    shared = SharedWords()
    worker = _HorseWorker(orders, bench.redis, shared)
    job_id = bench.submit("broken")
    taken = bench.jobs.lanes.take(0)
    assert taken is not None
    worker._stopped_job_id = job_id  # as when the signal came after its failure had been written
    _run(worker, Order(job_id, taken.token, taken.fields, contended=False), _SoftStop(worker, shared))
    record = bench.get(job_id)
    assert (record.state.value, record.attempts) == ("queued", 1)
    assert shared.inside == b""
