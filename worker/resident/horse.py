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
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Final, Protocol

from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job
from rq.utils import import_attribute

from shared import logs
from shared.queue import connect
from shared.settings import Settings
from worker.resident.fenced import FencedWorker, OpenWork, deadline_of, request_id_of
from worker.resident.memory import die_first

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1


class SharedText(Protocol):
    """Bytes in memory that parent and horse share: the id of the job to stop."""

    value: bytes


class JobStopped(BaseException):
    """Raised in the middle of a job that is to be stopped."""


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


def main(pipe: Connection, wanted: "SharedText", orders: Orders) -> None:
    """Body of the process: load, say "ready", then run the jobs whose ids come over the pipe."""
    _die_with(orders.parent_pid)
    die_first()
    logs.configure(orders.settings)
    faulthandler.enable()
    setup: Callable[[Settings], dict[str, Any]] = import_attribute(orders.setup)
    about = setup(orders.settings)
    connection = connect(orders.settings.redis_url, patient=True)
    worker = FencedWorker(
        connection, orders.settings, orders.allowed, orders.worker_name, work=orders.work, prepare_for_work=False
    )
    worker._is_horse = True  # noqa: SLF001  RQ's name for the role
    stop = _SoftStop(worker, wanted)
    signal.signal(signal.SIGUSR1, stop)
    pipe.send(about)
    while True:
        try:
            job_id, execution_id = pipe.recv()
        except EOFError:
            sys.exit(0)
        with logs.about(job=job_id, request=None):
            _run(worker, job_id, execution_id, stop)
        pipe.send(about)  # anew: a job may have changed what the setup said


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

    def __init__(self, worker: FencedWorker, wanted: "SharedText") -> None:
        self._worker = worker
        self._wanted = wanted
        self.job_id: str | None = None

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        if self.job_id is not None and self.job_id.encode() == self._wanted.value:
            self._worker._stopped_job_id, self.job_id = self.job_id, None  # noqa: SLF001
            raise JobStopped


def _run(worker: FencedWorker, job_id: str, execution_id: str, stop: _SoftStop) -> None:
    worker.execution = Execution(execution_id, job_id, worker.connection, worker.name)
    try:
        job = Job.fetch(job_id, connection=worker.connection, serializer=worker.serializer)
    except NoSuchJobError:
        worker.drop_execution(Job(job_id, connection=worker.connection, serializer=worker.serializer))
        for queue in worker.queues:
            queue.intermediate_queue.remove(job_id)
        return
    logs.request_id.set(request_id_of(job))
    job.redis_server_version = worker.get_redis_server_version()
    timeout = int(job.timeout or worker.settings.job_timeout)
    deadline = deadline_of(job)
    if deadline is not None:  # the limit of RQ's alarm, too
        timeout = job.timeout = min(timeout, max(1, math.ceil((deadline - datetime.now(UTC)).total_seconds())))
    try:
        stop.job_id = job_id
        worker.perform_job(job, worker.jobs.lanes.named(job.origin))
    except JobStopped:
        log.info("job %s was stopped while it ended", job_id)
        if worker.execution is not None:  # it was about to wait or to be tried again; else it has ended
            worker._transient = False  # noqa: SLF001
            job.ended_at = datetime.now(UTC)
            worker.handle_job_failure(job, worker.jobs.lanes.named(job.origin), exc_string="stopped")
    finally:
        stop.job_id = None
        faulthandler.cancel_dump_traceback_later()
        worker.jobs.bury(job_id)
