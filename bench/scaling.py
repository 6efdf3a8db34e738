"""Does one more worker give one more worker's throughput? And what does Redis do where it does not?

    python -m bench.scaling                  # 1, 4, 16, 64 workers whose model sleeps for 200 ms
    python -m bench.scaling --workers 1,8

A model that sleeps takes no processor, so many more workers than cores show what queue and storage cost. Everything
else is real: a Redis of its own, the worker with its resident horse, a folder store, the account of each job.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Table, machine
from shared.queue import connect
from shared.settings import Settings
from tests.conftest import make_redis_server
from tests.stack.sleepy import Stack

START_SECONDS = 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,4,16,64", help="numbers of workers, apart by commas")
    parser.add_argument("--nap", type=float, default=0.2, help="seconds that the model sleeps")
    parser.add_argument("--jobs", type=int, default=40, help="for each worker")
    options = parser.parse_args()
    print(machine("rq", "redis"))
    table = Table(
        "workers", "jobs/s", "of linear", "over the nap, p50 ms", "Redis commands a job", "Redis, share of a core"
    )
    for workers in map(int, options.workers.split(",")):
        print(f"{workers} workers", file=sys.stderr)
        table.row(workers, *_measure(workers, options.nap, workers * options.jobs))
    print(table)


def _measure(workers: int, nap: float, jobs: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="ds-") as name:
        folder = Path(name)
        server = make_redis_server(folder / "redis")
        server.start()
        environment = {"DATA_DIR": str(folder / "data"), "LEASE": "30"}
        settings = Settings(redis_url=server.url, data_dir=folder / "data", lease=30, max_queue=jobs)
        connection = connect(server.url, patient=True)
        stack = Stack(connection, settings, folder, environment)
        try:
            stack.storage.prepare()
            _start(stack, workers)
            warm = stack.submit([0.0] * workers)
            stack.wait(warm, 60)
            before, begin = connection.info(), time.perf_counter()
            job_ids = stack.submit([nap] * jobs)
            stack.wait(job_ids, 60 + 4 * jobs * nap / workers)
            seconds, after = time.perf_counter() - begin, connection.info()
            rate = jobs / seconds
            commands = (after["total_commands_processed"] - before["total_commands_processed"]) / jobs
            return [
                f"{rate:.1f}",
                f"{100 * rate * nap / workers:.0f} %",
                f"{1000 * (_median_time(stack, job_ids) - nap):.0f}",
                f"{commands:.0f}",
                f"{100 * (_cpu(after) - _cpu(before)) / seconds:.0f} %",
            ]
        finally:
            stack.end()
            connection.close()
            server.kill()


def _start(stack: Stack, workers: int) -> None:
    processes = [stack.worker() for _ in range(workers)]
    end = time.monotonic() + START_SECONDS
    while not all(stack.ready(process) for process in processes):
        if time.monotonic() > end:
            raise SystemExit("the workers do not start")
        time.sleep(0.5)


def _median_time(stack: Stack, job_ids: list[str]) -> float:
    """Seconds from the start of a job to its end, as Redis has them."""
    records = [record for record in stack.jobs.get_many(job_ids, positions=False) if record is not None]
    return statistics.median(
        (record.finished_at - record.started_at).total_seconds()
        for record in records
        if record.finished_at is not None and record.started_at is not None
    )


def _cpu(info: dict[str, Any]) -> float:
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


if __name__ == "__main__":
    main()
