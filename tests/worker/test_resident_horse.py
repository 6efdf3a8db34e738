"""The horse's part, in this process."""

import threading

from tests.worker import resident_jobs
from tests.worker.resident_bench import Bench
from worker.resident.horse import Order, _HorseWorker, _run, _SoftStop


class _Text:
    value = b""


def test_a_stop_that_came_too_late_is_not_for_the_job_when_it_is_tried_again(bench: Bench) -> None:
    assert threading.current_thread() is threading.main_thread(), "RQ sets an alarm"
    resident_jobs.set_up(bench.settings)
    worker = _HorseWorker(bench.redis, bench.settings, resident_jobs.ALLOWED, "w", prepare_for_work=False)
    job_id = bench.submit("broken")
    taken = bench.jobs.lanes.take(0)
    assert taken is not None
    worker._stopped_job_id = job_id  # as when the signal came after its failure had been written
    _run(worker, Order(job_id, taken.token, taken.fields, contended=False), _SoftStop(worker, _Text()))
    record = bench.get(job_id)
    assert (record.state.value, record.attempts) == ("queued", 1)
