"""A store as whole processes use it: prepared by several at once, over a fork, by many greenlets, in little memory."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.storage import Storage
from shared.storage.s3_writer import PART
from tests.shared.conftest import MIB, Place, pattern


def test_prepare_twice_and_check(place: Place) -> None:
    store = place.open()
    store.prepare()
    store.put("a.bin", b"kept")
    store.prepare()
    store.check()
    assert place.open().get("a.bin") == b"kept"


def test_prepare_by_many_at_once(place: Place) -> None:
    stores = [place.open() for _ in range(6)]
    barrier = threading.Barrier(6)

    def prepare(store: Storage) -> None:
        barrier.wait()
        store.prepare()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(prepare, stores))
    stores[0].put("a.bin", b"x")


def test_memory_stays_bounded(place: Place) -> None:
    if place.kind == "moto":
        pytest.skip("moto keeps its objects in this very process")
    store = place.open()
    store.prepare()
    block = pattern(MIB)
    store.put("warm/up.bin", block)  # what boto3 loads once
    tracemalloc.start()
    try:
        with store.writer("large.mp4") as writer:
            for _ in range(64):
                writer.write(block)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        total = 0
        with store.open("large.mp4") as blob:
            for chunk in blob:
                total += len(chunk)
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 64 * MIB
    assert written < 4 * MIB
    assert read < 4 * MIB


def test_many_slow_uploads_take_little_memory(place: Place) -> None:
    """Each has nearly a part that cannot be sent yet; forty of them once filled a container."""
    if place.kind == "moto":
        pytest.skip("moto works in this very process")
    store = place.open()
    store.prepare()
    block = pattern(PART - 1)
    store.put("warm/up.bin", b"what boto3 loads once")
    tracemalloc.start()
    try:
        writers = [store.writer(f"inputs/{number}.mp4") for number in range(12)]
        for writer in writers:
            writer.write(block)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()
    writers[0].commit()
    for writer in writers[1:]:
        writer.abort()
    assert store.get("inputs/0.mp4") == block


def test_under_gevent(place: Place) -> None:
    """The web tier: a patched process, many greenlets on one store, more than the pool has connections."""
    script = """
        from gevent import monkey; monkey.patch_all()
        import sys, gevent
        from shared.settings import Settings
        from shared.storage import open_storage
        store = open_storage(Settings())
        store.prepare()
        def turn(number):
            store.put(f"greenlets/{number}.bin", bytes(10_000))
            return len(store.get(f"greenlets/{number}.bin"))
        jobs = [gevent.spawn(turn, number) for number in range(100)]
        gevent.joinall(jobs, timeout=50)
        assert [job.value for job in jobs] == [10_000] * 100, [job.exception for job in jobs]
    """
    place.run(script)


def test_over_a_fork(place: Place) -> None:
    """gunicorn preloads the application, prepares the store and forks: no connection may be shared."""
    script = """
        import os
        from shared.settings import Settings
        from shared.storage import open_storage
        store = open_storage(Settings())
        store.prepare()
        store.put("before.bin", b"parent")
        children = []
        for child in range(4):
            pid = os.fork()
            if pid == 0:
                try:
                    for turn in range(20):
                        data = f"{child}-{turn}".encode() * 500
                        store.put(f"{child}/x.bin", data)
                        assert store.get(f"{child}/x.bin") == data
                        assert store.get("before.bin") == b"parent"
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(pid)
        store.put("after.bin", b"parent")
        assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    """
    place.run(script)
