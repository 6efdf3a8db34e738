"""Job functions for the tests of the resident worker, and the process that runs them."""

import ctypes
import itertools
import os
import threading
import time
from collections import deque
from typing import Any

import redis
from redis.client import Pipeline
from rq.job import Job

from shared import logs
from shared.errors import BadInputError, PublicError, TransientError
from shared.queue import connect
from shared.settings import Settings
from shared.storage.folder import FolderStorage
from worker.resident import ResidentWorker
from worker.resident.ending import Ending, Record

_settings: Settings | None = None


def set_up(settings: Settings) -> dict[str, Any]:
    global _settings
    _settings = settings
    redis = connect(settings.redis_url, patient=True)
    if redis.rpush("test:set_up", os.getpid()) > 1:
        time.sleep(float(os.environ.get("SLOW_SECOND_LOAD", "0")))
    if int(redis.get("test:die_loading") or 0) > 0:
        redis.decr("test:die_loading")
        os._exit(3)
    return {"engine": "test"}


def _note(event: str, request: dict[str, Any]) -> int:
    """Note an event; the number of times that it happened to this job."""
    assert _settings is not None
    redis = connect(_settings.redis_url, patient=True)
    redis.rpush("test:events", f"{event} {request['id']} {os.getpid()}")
    return int(redis.incr(f"test:{event}:{request['id']}"))


def quick(request: dict[str, Any]) -> None:
    _note("ran", request)


def slow(request: dict[str, Any]) -> None:
    """As many seconds as the file's name says, in small steps of Python."""
    _note("started", request)
    end = time.monotonic() + float(request["input"]["filename"])
    while time.monotonic() < end:
        time.sleep(0.01)
    _note("ran", request)


def away_once_then_hangs(request: dict[str, Any]) -> None:
    if _note("tried", request) == 1:
        raise TransientError("storage_down", "Storage is away.")
    hang_without_gil(request)


def slow_to_leave(request: dict[str, Any]) -> None:
    """Tidies up for a moment when it is stopped."""
    try:
        slow(request)
    finally:
        time.sleep(0.3)


class _TidiesUp:
    def __init__(self, request: dict[str, Any]) -> None:
        self._request = request

    def __del__(self) -> None:
        slow(self._request)


def swallows_a_signal(request: dict[str, Any]) -> None:
    """Is in a destructor when the signal comes: what is raised there, Python drops."""
    del [_TidiesUp(request)][0]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.01)


def swallows_exceptions(request: dict[str, Any]) -> None:
    """A decoder that takes every exception for a broken file."""
    try:
        slow(request)
    except Exception as error:
        raise BadInputError("bad_image", "It is damaged.") from error


def hang_without_gil(request: dict[str, Any]) -> None:
    """A dead lock in native code: signals reach the process but no handler of Python runs."""
    _note("started", request)
    libc = ctypes.CDLL(None)
    mutex = ctypes.create_string_buffer(64)
    libc.pthread_mutex_init(mutex, None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def hang_with_gil(request: dict[str, Any]) -> None:
    """An endless loop in native code that never lets go of the interpreter."""
    _note("started", request)
    deque(itertools.repeat(0), maxlen=0)


def crash(request: dict[str, Any]) -> None:
    _note("started", request)
    os.abort()


def crash_once(request: dict[str, Any]) -> None:
    if _note("started", request) == 1:
        os.abort()
    _note("ran", request)


def bad_input(request: dict[str, Any]) -> None:
    _note("started", request)
    raise BadInputError("bad_image", "This is no picture.")


def storage_away_twice(request: dict[str, Any]) -> None:
    if _note("started", request) <= 2:
        raise TransientError("storage_down", "Storage is away.")
    _note("ran", request)


def broken(request: dict[str, Any]) -> None:
    _note("started", request)
    raise RuntimeError("a secret path: /etc/passwd")


def out_of_memory(request: dict[str, Any]) -> None:
    _note("started", request)
    raise MemoryError


def bomb(request: dict[str, Any]) -> None:
    """Takes memory, 16 MB at a time, up to a size that no test machine suffers from."""
    _note("started", request)
    kept = []
    for _ in range(64):
        kept.append(bytearray(b"x") * (16 * 1024 * 1024))
        time.sleep(0.02)
    _note("ran", request)


def bad_alloc(request: dict[str, Any]) -> None:
    """As a library of C++ says it."""
    _note("started", request)
    raise RuntimeError("Exception from src/plugin.cpp: std::bad_alloc")


def storage_away(request: dict[str, Any]) -> None:
    _note("started", request)
    raise TransientError("storage_down", "Storage is away.")


def storage_full_twice(request: dict[str, Any]) -> None:
    if _note("started", request) <= 2:
        raise PublicError("storage_full", "The storage is full.")
    _note("ran", request)


def leaves(request: dict[str, Any]) -> Ending:
    """Leaves its end to the parent. The file's name says what comes of that, see `NotedEndings`."""
    _note("started", request)
    return Ending(b"{}", [], time.monotonic())


def leaves_much(request: dict[str, Any]) -> Ending:
    """As much as no photo does."""
    _note("started", request)
    return Ending(b"{}", [("a", bytes(150 * 1024 * 1024))], time.monotonic())


class NotedEndings:
    """Ends that are noted, and that take as many seconds as the file's name says, or fail as it says."""

    def __init__(self, _connection: redis.Redis, _settings: Settings) -> None:
        """Nothing is needed."""

    def store(self, job: Job, ending: Ending) -> Record:
        assert ending.document == b"{}"
        request = job.kwargs["request"]
        times = _note("ending", request)
        how = request["input"]["filename"]
        if how == "away twice" and times <= 2:
            raise TransientError("storage_down", "Storage is away.")
        if how == "broken":
            raise RuntimeError("a secret path: /etc/passwd")
        if how == "once":
            how = "60" if times == 1 else "0"
        if how == "pool":
            how = "0"
            if times == 1:
                _PutsHang().put_many([("a", b""), ("b", b"")])
        time.sleep(0 if how.startswith(("x", "away")) else float(how))
        return lambda pipe: _count(pipe, request["id"])

    def discard(self, job: Job) -> None:
        _note("discarded", job.kwargs["request"])


class _PutsHang(FolderStorage):
    """A store on a disk that hangs."""

    def __init__(self) -> None:
        """Nothing is needed."""

    def put(self, key: str, data: bytes, content_type: str | None = None) -> None:  # noqa: ARG002
        threading.Event().wait()


def _count(pipe: Pipeline, job_id: str) -> None:
    pipe.incr(f"test:ran:{job_id}")


NAMES = [
    "leaves",
    "leaves_much",
    "storage_away",
    "storage_full_twice",
    "bomb",
    "bad_alloc",
    "quick",
    "slow",
    "slow_to_leave",
    "away_once_then_hangs",
    "swallows_exceptions",
    "swallows_a_signal",
    "hang_without_gil",
    "hang_with_gil",
    "crash",
    "crash_once",
    "bad_input",
    "storage_away_twice",
    "broken",
    "out_of_memory",
]
ALLOWED = frozenset(f"{__name__ if __name__ != '__main__' else 'tests.worker.resident_jobs'}.{name}" for name in NAMES)


def main() -> None:
    global _settings
    _settings = settings = Settings()
    logs.configure(settings)
    worker = ResidentWorker(
        connect(settings.redis_url, patient=True),
        settings,
        f"test-{os.getpid()}",
        setup="tests.worker.resident_jobs.set_up",
        allowed=ALLOWED,
        endings=NotedEndings,
    )
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    main()
