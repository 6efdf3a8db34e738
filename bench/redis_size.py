"""What a finished job costs in Redis, and what 100,000 of them cost everybody else.

    python -m bench.redis_size [--jobs 100000]

starts a Redis of its own and a worker whose model sleeps for no time at all, runs real jobs through it, weighs every
key that is left of them, then multiplies them and times a page of the list and an enqueue before and after.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import redis

from shared.jobs import InputFile, JobOptions, JobRequest, JobState, new_job_id
from shared.queue import JobQueue, Lanes, keys
from shared.queue.listing import Listing
from tests.stack.chaos import storm
from tests.stack.sleepy import Stack

SAMPLE = 100
ROUNDS = 50
_ID = re.compile(r"[0-9a-f]{32}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ds-") as folder, storm(Path(folder), workers=1, seed=1, retries=2) as one:
        stack = one.stack
        ids = stack.submit([0.0] * SAMPLE)
        stack.wait(ids, 60)
        for job_id in ids:
            stack.jobs.remember_cached(job_id + job_id, job_id, "openvino/f32")
        stack.check(ids)
        stack.end()
        before = weigh(stack.redis)
        print("| key | bytes a finished job |\n| --- | ---: |")
        for name, size in before.most_common():
            print(f"| `{name}` | {size / SAMPLE:.0f} |")
        print(f"| together | {sum(before.values()) / SAMPLE:.0f} |\n")
        print("| finished jobs | used memory, MB | page of 50, ms | page of failed, ms | enqueue, ms | count, ms |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        report(stack, SAMPLE)
        multiply(stack.redis, ids, options.jobs)
        report(stack, options.jobs)
        begin = time.perf_counter()
        stack.jobs.forget_gone()
        print(f"\nthe janitor looks through the list in {time.perf_counter() - begin:.1f} s")


def weigh(connection: redis.Redis) -> Counter[str]:
    """Bytes by kind of key: those that carry a job's id, and what it takes in the shared ones."""
    sizes: Counter[str] = Counter()
    shared = {key.decode() for key in connection.scan_iter(count=1000)}
    for key in shared:
        kind = connection.type(key)
        owned = _ID.search(key)
        if owned or (kind == b"zset" and connection.zcard(key)):
            sizes[_ID.sub("<id>", key).replace("<id><id>", "<key>")] += int(
                connection.memory_usage(key, samples=0) or 0
            )
    return sizes


def multiply(connection: redis.Redis, ids: list[str], count: int) -> None:
    """More finished jobs like those: their keys under new ids."""
    names = ["rq:job:{}", "rq:results:{}", "dropsight:events:{}", "dropsight:cached:{0}{0}"]
    dumps = [
        [
            (name, data, max(0, connection.pttl(name.format(job_id))))
            for name in names
            if (data := connection.dump(name.format(job_id)))
        ]
        for job_id in ids
    ]
    registry = Lanes(connection).interactive.finished_job_registry.key
    now = time.time()
    for start in range(0, count - len(ids), 1000):
        pipe = connection.pipeline(transaction=False)
        for number in range(start, min(start + 1000, count - len(ids))):
            job_id = new_job_id()
            for name, data, ttl in dumps[number % len(dumps)]:
                pipe.restore(name.format(job_id), ttl, data)
            pipe.zadd(keys.JOBS, {job_id: now - number})
            pipe.zadd(registry, {job_id: now + 7 * 86400 - number})
        pipe.execute()


def report(stack: Stack, jobs: int) -> None:
    """A line of the table."""
    queue, listing = stack.jobs, Listing(stack.jobs)
    used = stack.redis.info("memory")["used_memory"] / 2**20
    figures = [
        timed(lambda: listing.page(state=None, limit=50, cursor=None)),
        timed(lambda: listing.page(state=JobState.FAILED, limit=50, cursor=None)),
        timed(lambda: enqueue(queue)),
        timed(listing.count_by_state),
    ]
    print(f"| {jobs} | {used:.1f} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")


def enqueue(queue: JobQueue) -> None:
    job_id = new_job_id()
    file = InputFile(key="inputs/x.jpg", filename="x.jpg", content_type="image/jpeg", bytes=1, sha256=job_id + job_id)
    queue.submit(
        [
            JobRequest(
                id=job_id,
                input=file,
                model="m",
                options=JobOptions(),
                cache_key=job_id + job_id,
                created_at=datetime.now(UTC),
            )
        ]
    )


def timed(action: Callable[[], object]) -> float:
    """Median of milliseconds."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        action()
        times.append((time.perf_counter() - begin) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    main()
