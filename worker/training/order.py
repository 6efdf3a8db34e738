"""In which batches the training images are learnt from, made in a thread while the network learns."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

B = TypeVar("B")
#: makes a batch: of epoch, number and the images' indices
Make = Callable[[int, int, NDArray[np.int64]], B]


def batch_count(count: int, batch_size: int) -> int:
    """How many batches an epoch has."""
    return -(-count // batch_size)


def made_ahead(make: Make[B], count: int, batch_size: int, seed: int, epoch: int) -> Iterator[B]:
    """The batches of an epoch, each image in one of them; the same for the same seed and epoch, whatever ran before.

    Args:
        make: makes a batch.
        count: how many training images there are.
        batch_size: every batch has as many, the last one of an epoch is filled up from its beginning.
        seed: of the run.
        epoch: its number.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    batches = batch_count(count, batch_size)
    parts = np.resize(order, batches * batch_size).reshape(batches, batch_size)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        waiting = thread.submit(make, epoch, 0, parts[0])
        for index in range(batches):
            batch = waiting.result()
            if index + 1 < batches:
                waiting = thread.submit(make, epoch, index + 1, parts[index + 1])
            yield batch
