"""The resident horse: the child process that holds the models and runs one job after the other.

It is spawned, never forked: neither TensorFlow nor CUDA survives a fork. It dies with its parent.
"""

import ctypes
import faulthandler
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final, NamedTuple

import redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.utils import import_attribute

from shared import logs
from shared.queue import connect
from shared.settings import Settings
from worker.resident import interruptions
from worker.resident.asked import deadline_of, request_id_of
from worker.resident.ending import Ending
from worker.resident.fenced import FencedWorker, OpenWork
from worker.resident.interruptions import Interruption
from worker.resident.memory import die_first, keep_pages

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1
#: seconds until a job is stopped once more when the first time had no effect
STOPPED_AGAIN: Final = 0.05


class SharedWords(ctypes.Structure):
    """What parent and horse share in memory: a busy horse does not read its pipe."""

    _fields_ = (("wanted", ctypes.c_char * 64), ("inside", ctypes.c_char * 64))

    wanted: bytes
    """id of the job to stop"""
    inside: bytes
    """id of the execution whose function the horse is in; empty: none, and what it does in Redis may take its time"""


class JobStopped(Interruption):
    """Raised in the middle of a job that is to be stopped."""

    def __init__(self, repeat: Callable[[], None]) -> None:
        super().__init__()
        self._repeat = repeat

    def repeat(self) -> None:
        """Have the process get the signal anew."""
        self._repeat()


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent tells its horse at birth."""

    worker_name: str
    parent_pid: int
    settings: Settings
    allowed: frozenset[str]
    work: OpenWork
    setup: str
    """path of a function `(Settings) -> dict`: loads the models and tells what the parent should announce

    (`engine`, `models`). What jobs change in that dict is announced after them.
    """


class Order(NamedTuple):
    """A job to run."""

    job_id: str
    execution_id: str
    fields: dict[bytes, bytes]
    """the job's hash in Redis, as the parent found it"""
    contended: bool
    """whether jobs of other lanes waited, too: to begin it is a turn of its lane"""


class Report(NamedTuple):
    """What the horse says when it is done with a job."""

    execution_id: str
    """of the order; empty: the models are loaded"""
    about: dict[str, Any]
    """what the setup said, anew: the job may have changed it"""
    ending: Ending | None
    """what is left to do of the job; None: nothing"""


class _HorseJob(Job):
    """A job that its worker begins."""

    def perform(self) -> Any:  # noqa: ANN401
        """RQ's, which asks Redis to keep the job: `scripts.BEGIN` did that."""
        self._result = self._execute()
        return self._result


class _HorseWorker(FencedWorker):
    """Ends every job itself but those whose function returns an `Ending`: these are the parent's to end."""

    ending: Ending | None = None

    def __init__(self, orders: Orders, connection: redis.Redis, shared: SharedWords) -> None:
        super().__init__(
            connection, orders.settings, orders.allowed, orders.worker_name, work=orders.work, prepare_for_work=False
        )
        self._is_horse = True  # RQ's name for the role
        self._shared = shared

    def begin_anew(self, execution: Execution) -> None:
        """As ever, and say that it is in there."""
        super().begin_anew(execution)
        self._shared.inside = execution.id.encode()

    def leave(self) -> None:
        """Say that it is in no function any more."""
        self._shared.inside = b""

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """What happens first when the function of a job is over, well or not."""
        self.leave()
        super().handle_execution_ended(job, queue, heartbeat_ttl)

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry) -> None:
        """The end of a job, or the beginning of its end."""
        returned = job._result  # noqa: SLF001  the public way asks Redis
        if isinstance(returned, Ending):
            self.ending = returned
        else:
            super().handle_job_success(job, queue, started_job_registry)


def main(pipe: Connection, shared: SharedWords, orders: Orders) -> None:
    """Body of the process: load, say "ready", then run the jobs that come over the pipe."""
    _die_with(orders.parent_pid)
    die_first()
    keep_pages()
    logs.configure(orders.settings)
    faulthandler.enable()
    setup: Callable[[Settings], dict[str, Any]] = import_attribute(orders.setup)
    about = setup(orders.settings)
    worker = _HorseWorker(orders, connect(orders.settings.redis_url, patient=True), shared)
    stop = _SoftStop(worker, shared)
    signal.signal(signal.SIGUSR1, stop)
    interruptions.are_not_lost()
    pipe.send(Report("", about, None))
    while True:
        try:
            order: Order = pipe.recv()
        except EOFError:
            sys.exit(0)
        with logs.about(job=order.job_id, request=None):
            ending = _run(worker, order, stop)
        pipe.send(Report(order.execution_id, about, ending))
        worker.ending = ending = None  # what it holds is the next job's to use


def _die_with(parent_pid: int) -> None:
    """An orphan would go on and write a second result: have the kernel end this process with its parent."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C and SIGTERM are for the parent, which lets jobs end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True).start()
    if os.getppid() != parent_pid:
        os._exit(1)


def _watch_parent(parent_pid: int) -> None:
    """Where the kernel does not tell of the parent's death: look for it."""
    while os.getppid() == parent_pid:
        time.sleep(1)
    os._exit(1)


class _SoftStop:
    """SIGUSR1 handler: raises in the job that is running, so that the process and its models stay.

    The parent writes down which job it means: the signal may come when that one has ended and another runs.
    """

    def __init__(self, worker: FencedWorker, shared: SharedWords) -> None:
        self._worker = worker
        self._shared = shared
        self.job_id: str | None = None

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        if self.job_id is not None and self.job_id.encode() == self._shared.wanted:
            self._worker._stopped_job_id, self.job_id = self.job_id, None  # noqa: SLF001
            raise JobStopped(partial(self._again, self._worker._stopped_job_id))  # noqa: SLF001

    def _again(self, job_id: str) -> None:
        # not from here: this is the very code that Python lets no exception out of
        self.job_id = job_id
        timer = threading.Timer(STOPPED_AGAIN, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.daemon = True
        timer.start()


def _run(worker: _HorseWorker, order: Order, stop: _SoftStop) -> Ending | None:
    job_id = order.job_id
    worker.ending, worker.contended = None, order.contended
    worker.begin_anew(Execution(order.execution_id, job_id, worker.connection, worker.name))
    job = _HorseJob(job_id, connection=worker.connection, serializer=worker.serializer)
    job.restore(order.fields)  # what happened to it since, the claim finds out
    logs.request_id.set(request_id_of(job))
    job.redis_server_version = worker.get_redis_server_version()
    timeout = int(job.timeout or worker.settings.job_timeout)
    deadline = deadline_of(job)
    if deadline is not None:  # the limit of RQ's alarm, too
        timeout = job.timeout = min(timeout, max(1, math.ceil((deadline - datetime.now(UTC)).total_seconds())))
    ended_well = False
    worker._stopped_job_id = None  # noqa: SLF001  it may be this very job's, of an earlier run that was over by then
    try:
        stop.job_id = job_id
        ended_well = worker.perform_job(job, worker.jobs.lanes.named(job.origin))
    except JobStopped:
        worker.leave()
        log.info("job %s was stopped while it ended", job_id)
        if worker.execution is not None:  # it was about to wait or to be tried again; else it has ended
            worker._transient = False  # noqa: SLF001
            job.ended_at = datetime.now(UTC)
            worker.handle_job_failure(job, worker.jobs.lanes.named(job.origin), exc_string="stopped")
    finally:
        stop.job_id = None
        faulthandler.cancel_dump_traceback_later()
        if not ended_well:
            worker.jobs.bury(job_id)
    return worker.ending if ended_well else None
