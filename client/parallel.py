"""A few threads for many things, without a list of all of them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")


def each_done(function: Callable[[Item], Found], items: Iterable[Item], parallel: int) -> Iterator[Found]:
    """As `map` with so many threads, but what is done first comes first: nothing waits behind a long one.

    Items are taken only as results are. When the caller leaves early, or is interrupted, what runs goes on, and
    nothing more is begun.

    Raises:
        ValueError: `parallel` is less than 1.
        Exception: what the function raises.
    """
    running: set[Future[Found]] = set()
    pool = ThreadPoolExecutor(parallel, "dropsight")
    try:
        for item in items:
            running.add(pool.submit(function, item))
            if len(running) < parallel:
                continue
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
