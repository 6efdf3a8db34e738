"""Breaks things while jobs run, and then counts: nothing lost, nothing twice, nothing stuck.

    python -m tests.stack.chaos --jobs 1000 --kills 200 --workers 3 --seed 1
    python -m tests.stack.chaos --jobs 1000 --sigterm 50
    python -m tests.stack.chaos --jobs 500 --redis-down 30

A real Redis, a folder store, worker processes whose model sleeps for up to 0.15 s.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.jobs import JobState
from shared.queue import connect
from shared.queue.listing import Listing
from shared.settings import Settings
from tests.conftest import RedisServer, make_redis_server
from tests.stack.sleepy import Stack
from tests.worker.resident_bench import alive

LEASE = 5
LONGEST_NAP = 0.15


class Storm:
    """A stack under fire. Every random choice is the seed's."""

    def __init__(self, stack: Stack, redis: RedisServer, workers: int, seed: int) -> None:
        self.stack = stack
        self.redis = redis
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        for _ in range(workers):
            stack.worker()

    def load(self, jobs: int) -> list[str]:
        """Put jobs into the queue."""
        return self.stack.submit([round(self.random.uniform(0, LONGEST_NAP), 3) for _ in range(jobs)])

    def finished(self) -> int:
        return Listing(self.stack.jobs).count_by_state()[JobState.FINISHED]

    def kill(self) -> None:
        """kill -9 of a worker, of its horse, or of both at once; a dead worker is replaced, as a supervisor does."""
        worker = self.random.choice(self.stack.workers)
        while not alive(horse := self.stack.horse(worker)):  # it is being born
            time.sleep(0.02)
            worker = self.random.choice(self.stack.workers)
        kind = self.random.choice(["parent", "horse", "both"])
        for pid in {"parent": [worker.pid], "horse": [horse], "both": [horse, worker.pid]}[kind]:
            with suppress(ProcessLookupError):  # it has just died of the blow before
                os.kill(pid, signal.SIGKILL)
        self.done[kind] += 1
        if kind in ("parent", "both"):
            worker.wait()
            self._replace(worker)

    def terminate(self) -> None:
        """SIGTERM to a worker that is at work, and wait for the orderly end."""
        while not (ready := [worker for worker in self.stack.workers if self.stack.ready(worker)]):
            time.sleep(0.05)
        worker = self.random.choice(ready)
        worker.terminate()
        status = worker.wait(30)
        assert status == 0, f"a worker ended with status {status} after SIGTERM"
        self.done["sigterm"] += 1
        self._replace(worker)

    def redis_away(self, seconds: float) -> None:
        """kill -9 of Redis, and its return with what it had written down."""
        self.redis.kill()
        time.sleep(seconds)
        self.redis.start()
        self.done["redis"] += 1

    def _replace(self, worker: Any) -> None:
        self.stack.workers.remove(worker)
        self.stack.worker()

    def paced(self, jobs: int, blows: int) -> Iterator[int]:
        """So many times, spread over the first nine tenths of the jobs, each at a random moment."""
        for number in range(blows):
            while self.finished() < number * 0.9 * jobs / blows:
                time.sleep(0.02)
            time.sleep(self.random.uniform(0, LONGEST_NAP))
            yield number


@contextmanager
def storm(folder: Path, *, workers: int, seed: int, retries: int, **environment: str) -> Iterator[Storm]:
    """A Redis, a store and workers in a folder with a short path."""
    server = make_redis_server(folder / "redis")
    server.start()
    connection = connect(server.url, patient=True)
    (folder / "weights").mkdir(exist_ok=True)
    environment = {
        "LEASE": str(LEASE),
        "JOB_RETRIES": str(retries),
        "DATA_DIR": str(folder / "data"),
        "WEIGHTS_DIR": str(folder / "weights"),
        "STORAGE_URL": (folder / "data" / "storage").as_uri(),
    } | environment
    settings = Settings(
        redis_url=server.url,
        data_dir=folder / "data",
        weights_dir=folder / "weights",
        lease=LEASE,
        job_retries=retries,
        max_queue=1_000_000,
    )
    stack = Stack(connection, settings, folder, environment)
    stack.storage.prepare()
    try:
        yield Storm(stack, server, workers, seed)
    finally:
        stack.end()
        connection.close()
        server.kill()


def run(weather: Storm, jobs: int, kills: int, sigterms: int, redis_down: float) -> dict[str, Any]:
    """All of it, one after the other; raises `AssertionError` if a job was lost, stuck or done twice."""
    begin = time.monotonic()
    ids = weather.load(jobs)
    for _ in weather.paced(jobs, kills):
        weather.kill()
    for _ in weather.paced(jobs, sigterms):
        weather.terminate()
    if redis_down:
        while weather.finished() < jobs / 4:
            time.sleep(0.02)
        weather.redis_away(redis_down)
    weather.stack.wait(ids, 60 + jobs)
    last = time.monotonic()
    figures = weather.stack.check(ids)
    return {
        "jobs": jobs,
        "finished": len(ids),
        **weather.done,
        "attempts charged": figures["attempts"],
        "most to one job": figures["most"],
        "seconds": round(last - begin, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=0, help="kill -9 of a parent, a horse or both")
    parser.add_argument("--sigterm", type=int, default=0, help="orderly ends of a worker")
    parser.add_argument("--redis-down", type=float, default=0, help="seconds that Redis is away after a kill -9")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--retries", type=int, default=6, help="JOB_RETRIES: the same job may be hit again by chance")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ds-"))
    try:
        with storm(folder, workers=options.workers, seed=options.seed, retries=options.retries) as weather:
            figures = run(weather, options.jobs, options.kills, options.sigterm, options.redis_down)
    except BaseException:
        print(f"the logs are in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    print(", ".join(f"{name}: {value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
