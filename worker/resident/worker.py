"""The parent: takes jobs off the queue, feeds them to the horse, keeps the leases, brings a dead horse back.

It imports no engine and loads no model, so that nothing a file does to the horse can reach it.
"""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Final, NamedTuple

import redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError, TimeoutError  # noqa: A004
from rq import Queue
from rq.exceptions import NoSuchJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.suspension import is_suspended
from rq.timeouts import HorseMonitorTimeoutException
from rq.worker import WorkerStatus

from shared import logs
from shared.catalog import CatalogReader
from shared.errors import TransientError
from shared.jobs import ALLOWED_FUNCTIONS, ErrorInfo
from shared.queue import Fleet, JobQueue, WorkerInfo
from shared.queue.lanes import Taken
from shared.queue.records import EXPIRED
from shared.settings import Settings
from worker.endings import PhotoEndings
from worker.janitor import JanitorProcess
from worker.resident import horse
from worker.resident.asked import deadline_passed, request_id_of
from worker.resident.closer import Closer
from worker.resident.ending import Ending, OpenEndings
from worker.resident.fenced import FencedWorker, OpenWork
from worker.resident.memory import MB, MemoryWatch, own_memory, resident_memory
from worker.resident.pace import Every, LeaseWatch
from worker.resident.process import HorseProcess, Sign
from worker.resident.verdicts import OUT_OF_MEMORY

log = logging.getLogger(__name__)

#: seconds that one wait for a job lasts: within it, SIGTERM and a dead horse are noticed
POLL_SECONDS: Final = 1
#: seconds from one look at what changes slowly to the next, where jobs follow each other closely
LOOK_SECONDS: Final = 1.0
#: seconds that a job given to a busy horse waits for its turn at most; then it goes back for others to take
SOON: Final = 0.1
#: pauses between attempts to bring up a horse that dies while it loads
RESTART_PAUSES: Final = (0.5, 1, 2, 5, 10, 30)


class _Ahead(NamedTuple):
    """A job that the horse has got before its turn."""

    job: Job
    taken: Taken


class ResidentWorker(FencedWorker):
    """An RQ worker whose horse stays.

    Args:
        connection: a patient connection.
        settings: the settings.
        name: unique; RQ makes one up otherwise.
        setup: path of the function that loads the models in the horse and tells what to announce.
        allowed: the functions that may run.
        work: which jobs it takes.
        endings: how those end that the horse leaves to the parent.
        fleet: where it announces itself; None: among those that answer photos.
    """

    # RQ logs a dead Redis at error level and doubles its pause up to a minute; five seconds is enough
    max_connection_wait_time = 5.0

    def __init__(
        self,
        connection: redis.Redis,
        settings: Settings,
        name: str | None = None,
        *,
        setup: str = "worker.pipeline.set_up",
        allowed: frozenset[str] = ALLOWED_FUNCTIONS,
        work: OpenWork = JobQueue,
        endings: OpenEndings = PhotoEndings,
        fleet: Fleet | None = None,
    ) -> None:
        super().__init__(connection, settings, allowed, name, work=work)
        self._closer = Closer(connection, settings, allowed, self.name, work=work, endings=endings)
        self._fleet = fleet or Fleet(connection)
        self._janitor = JanitorProcess(JobQueue(connection, settings), settings)
        self._memory = MemoryWatch(settings.worker_memory_mb)
        self._horse = HorseProcess(lambda: horse.Orders(self.name, os.getpid(), settings, self.allowed, work, setup))
        self._about: dict[str, Any] = {}
        self._drain_timer: threading.Timer | None = None
        self._drained = False
        self._running: str | None = None
        self._reader = CatalogReader(settings.catalog, settings.default_model)
        self._leases = LeaseWatch(settings.lease)
        self._last_beat = 0.0
        self._time_to_ask = Every(LOOK_SECONDS)
        self._time_to_expire = Every(LOOK_SECONDS)
        self._said_idle = False
        self._suspended = False
        self._fields: dict[bytes, bytes] = {}
        self._ending: Ending | None = None
        self._ahead: _Ahead | None = None
        self._handed = False
        self._token = ""
        self._contended = False
        self._wrote_beside_the_horse = False
        self._born = time.time()
        self._jobs_done = 0

    # -- life of the horse

    def _ensure_horse(self) -> None:
        """Have a live horse with its models loaded; tries again for as long as it takes."""
        attempt = 0
        while not self._stop_requested and not self._horse.is_alive:
            if self._bring_up():
                log.info("horse %s is ready: %s", self._horse.pid, self._about)
                return
            pause = RESTART_PAUSES[min(attempt, len(RESTART_PAUSES) - 1)]
            log.error("the horse died while loading; the next attempt is in %s s", pause)
            self._wait_for_stop(pause)
            attempt += 1

    def _end_horse(self) -> None:
        self._about = {}
        self._horse.bury()

    def _bring_up(self) -> bool:
        self._end_horse()
        self._horse.spawn()
        while (sign := self._horse.wait(0.2)) is Sign.NOTHING:
            self._beat(force=False)
            if self._stop_requested:
                return False
        report = self._horse.read() if sign is Sign.REPORT else None
        if report is None:
            return False
        self._about = report.about
        self._beat(force=True)
        taken, limit = own_memory(self._horse.pid) // MB, self.settings.worker_memory_mb
        if limit and taken > limit / 2:
            log.warning("the models alone take %d MB, and WORKER_MEMORY_MB is %d", taken, limit)
        return True

    def _wait_for_stop(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop_requested and time.monotonic() < end:
            self._beat(force=False)
            time.sleep(0.1)

    # -- RQ's work-horse primitives

    def prepare_execution(self, job: Job) -> Execution:
        """Name the run of a job; the horse begins it, in one step with its lease."""
        self.execution = Execution(self._token, job.id, self.connection, self.name)
        self._state, self._said_idle = WorkerStatus.BUSY, False
        return self.execution

    def fork_work_horse(self, job: Job, queue: Queue) -> None:  # noqa: ARG002
        """Hand the job to the horse that is there, if it does not have it already."""
        handed, self._handed = self._handed, False
        if not handed:
            self._ensure_horse()
        self._horse_pid = self._horse.pid
        if not self._horse_pid or self.execution is None:  # stopped while the horse was loading
            return
        if not handed:
            self._horse.send(horse.Order(job.id, self.execution.id, self._fields, self._contended))
        self._memory.begin(self._horse_pid)
        if self._drained:
            self._drain_expired()
        elif self._stopped_job_id == job.id:  # it was begun before its turn here, and a wish to stop it came
            self._stop(job.id)
        self._hand_on_the_next()

    def _hand_on_the_next(self) -> None:
        """Give the horse one more job to go on with, if many wait: it then rests for no moment between the two.

        The horse begins it in its turn. Until then it lies in the intermediate queue, as one that was just taken.
        """
        if self._stop_requested or self._suspended or not self._closer.has_room(0):
            return
        with suppress(ConnectionError, TimeoutError):  # it is found by whoever takes next, or left and put back
            taken = self.jobs.lanes.take_ahead()
            job = None if taken is None else self._job_of(taken)
            if taken is not None and job is not None:
                self._ahead = _Ahead(job, taken)
                self._horse.send(horse.Order(job.id, taken.token, taken.fields, taken.contended))

    def _take_back_the_next(self) -> None:
        """What the horse has not begun goes back to the front, for whoever is free; no more is done of it here."""
        if self._ahead is not None and self.put_back_unbegun(self._ahead.job.id, self._ahead.taken.lane):
            self._ahead = None

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        """Wait until the job or the horse has ended.

        Raises `HorseMonitorTimeoutException` by itself: RQ's alarm signal could cut a message in two.
        """
        end = time.monotonic() + self.job_monitoring_interval * 0.8
        seconds = SOON
        while (left := end - time.monotonic()) > 0:
            self._leases.notice()
            sign = self._horse.wait(min(seconds, left))
            self._leases.notice()
            if sign is Sign.NOTHING:
                self._take_back_the_next()
                seconds = left
            elif sign is Sign.DEATH or (report := self._horse.read()) is None:
                self._take_back_the_next()
                self._ahead = None  # or others have it by now
                return self._horse.pid, self._horse.wait_status(), None
            elif self.execution is None or report.execution_id == self.execution.id:  # else of one that was taken back
                if report.about != self._about:  # another model: the web tier hears of it at once
                    self._about, self._last_beat = report.about, 0.0
                self._ending = report.ending
                self._jobs_done += 1
                return self._horse.pid, os.EX_OK, None
        raise HorseMonitorTimeoutException

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """What RQ's listening thread does when a job is to be stopped, and its main thread when all limits have failed.

        RQ's own would signal the process group, and with no horse its own.
        """
        if not self._horse_pid:
            return
        asked = threading.current_thread() is not threading.main_thread()
        if asked and self._stopped_job_id is not None and sig == signal.SIGKILL:
            self._stop(self._stopped_job_id)
        else:
            self._horse.signal(sig)

    def _stop(self, job_id: str) -> None:
        """End a job gently, so that the models stay, and if that does not help with the process."""
        execution = self.execution
        if execution is not None and job_id == self._running:  # else it has ended while the wish was on its way
            self._horse.stop(job_id, execution.id)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """RQ's, and have the job ended if its horse left that; afterwards the wish to stop it is over."""
        self._running = job.id
        if self._stopped_job_id != job.id:
            self._stopped_job_id = None
        self._wrote_beside_the_horse, self._ending = False, None
        try:
            with logs.about(job=job.id, request=request_id_of(job)):
                super().execute_job(job, queue)
        finally:
            self._stopped_job_id = self._running = None
            self._memory.end()
        self._have_ended(job)
        if self._wrote_beside_the_horse:
            self.jobs.bury(job.id)

    def _have_ended(self, job: Job) -> None:
        """Have the closer end the job, if the horse left that."""
        if self._ending is not None and self.execution is not None:
            self._closer.take(job, self.jobs.lanes.named(job.origin), self.execution, self._ending)
            self._ending = None

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:  # noqa: ANN401, ARG002
        """Find the public words for a horse that died in the middle of a job."""
        timeout = int(job.timeout or self.settings.job_timeout)
        ran = (datetime.now(UTC) - job.started_at).total_seconds() if job.started_at else 0.0
        if self._drained:
            return
        if self._memory.was_the_end(killed=ret_val == signal.SIGKILL):
            self._error = OUT_OF_MEMORY
        elif deadline_passed(job):
            self._error, job.retries_left = EXPIRED, 0
        elif ran >= timeout:
            self._error = ErrorInfo(code="timeout", message="This file took longer than a job may take.")
        else:
            self._error = ErrorInfo(code="crashed", message="The worker died while working on this file.")
        log.error("the horse died on job %s after %.1f s (wait status %s): %s", job.id, ran, ret_val, self._error.code)

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
    ) -> None:
        """A job that was cut off by the end of this worker goes back to the front, at nobody's cost."""
        if job.id != self._running:
            return
        if self.put_back_unbegun(job.id, queue):  # the horse died before that
            return
        if self._drained and self._stopped_job_id != job.id:
            log.info("job %s goes back to the front of the queue", job.id)
            if self.execution is not None:
                self.put_back(job, self.execution, at_front=True)
            return
        self._transient, self._wrote_beside_the_horse = False, True
        super().handle_job_failure(job, queue, started_job_registry, exc_string)

    # -- the loop

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """RQ's, then load the models: a worker that is listed can work."""
        super().bootstrap(*args, **kwargs)
        self._install_signal_handlers()
        self._ensure_horse()

    def dequeue_job_and_maintain_ttl(
        self,
        timeout: int | None,
        max_idle_time: int | None = None,  # noqa: ARG002
    ) -> tuple[Job, Queue] | None:
        """Wait for a job in short steps, keeping the heartbeat and the horse alive between them."""
        if timeout is None:  # burst mode
            return self._next_in_hand() or self._take_job(0)
        pause = 0.5
        while not self._stop_requested:
            try:
                if self._ahead is None:
                    self._ensure_horse()
                self._beat(force=False)
                if self._closer.is_stuck:
                    self._give_up()
                    continue
                if self.should_run_maintenance_tasks:
                    self.run_maintenance_tasks()
                if self._ahead is None and not (self._horse.is_alive and self._closer.has_room(POLL_SECONDS)):
                    continue
                if self._time_to_expire.has_come():
                    self.jobs.expire_due()
                found = self._next_in_hand() or self._take_job(0) or self._wait_for_job()
                self._leases.notice()
            except (ConnectionError, TimeoutError, TransientError) as error:
                log.error("Redis: %s", error)
                self._leases.distrust()
                time.sleep(pause)
                pause = min(pause * 2, self.max_connection_wait_time)
                continue
            if found is not None:
                found[0].redis_server_version = self.get_redis_server_version()
                return found
        raise StopRequested

    def _give_up(self) -> None:
        """Whoever keeps the processes alive begins anew."""
        log.critical("to store a result takes longer than a job may: the storage hangs, and this worker ends")
        self._stop_requested = self._drained = True

    def _wait_for_job(self) -> tuple[Job, Queue] | None:
        if not self._said_idle:
            super().set_state(WorkerStatus.IDLE)
            self._said_idle = True
        return self._take_job(POLL_SECONDS)

    def _next_in_hand(self) -> tuple[Job, Queue] | None:
        """The job that the horse has already."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        self._handed, self._token = True, ahead.taken.token
        return ahead.job, ahead.taken.lane

    def _take_job(self, seconds: float) -> tuple[Job, Queue] | None:
        taken = self.jobs.lanes.take(seconds)
        job = None if taken is None else self._job_of(taken)
        if taken is None or job is None:
            return None
        self._fields, self._token, self._contended = taken.fields, taken.token, taken.contended
        return job, taken.lane

    def _job_of(self, taken: Taken) -> Job | None:
        job = Job(taken.job_id, connection=self.connection, serializer=self.serializer)
        try:
            job.restore(taken.fields)
        except NoSuchJobError:  # deleted while it waited
            taken.lane.intermediate_queue.remove(taken.job_id)
            return None
        return job

    # RQ asks and says much around each job, which for a photo of 20 ms is a good part of the work. What changes
    # slowly is asked once a second, and "idle" and zeros are told when they are true for longer than a moment.

    def check_for_suspension(self, burst: bool) -> None:
        """RQ's, now and then, when nothing that was begun is left."""
        if not (burst or self._suspended or self._time_to_ask.has_come()):
            return
        self._suspended = is_suspended(self.connection, self)
        if not self._suspended or self._ahead is not None:
            return
        while not self._closer.is_done(POLL_SECONDS / 10) and not (self._stop_requested or self._closer.is_stuck):
            self._beat(force=False)
        super().check_for_suspension(burst)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """RQ's, but between two jobs a worker is not idle."""
        if state == WorkerStatus.IDLE and pipeline is None:
            self._state = state
            return
        self._said_idle = False
        super().set_state(state, pipeline)

    def set_current_job_working_time(self, current_job_working_time: float, pipeline: Pipeline | None = None) -> None:
        """RQ's, if it is another one."""
        if current_job_working_time != self.current_job_working_time or pipeline is not None:
            super().set_current_job_working_time(current_job_working_time, pipeline)

    def maintain_heartbeats(self, job: Job) -> None:
        """RQ's, and end what waits in vain while every worker is busy."""
        self._wrote_beside_the_horse = True
        self._leases.notice()
        super().maintain_heartbeats(job)
        self._closer.beat()
        if self._closer.is_stuck:  # this worker gives up as soon as it can
            self._closer.give_back()
        self._leases.notice()
        with suppress(TransientError):  # the next heartbeat sees to it
            self.jobs.expire_due()

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ's, but not just after Redis was away or the clock has jumped."""
        return self._leases.can_be_trusted() and bool(super().should_run_maintenance_tasks)

    def _beat(self, *, force: bool) -> None:
        self._leases.notice()
        if force:
            self._last_beat = 0.0
        self._closer.beat()
        if time.monotonic() - self._last_beat > self.settings.lease / 5:
            self.heartbeat()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """RQ's, and tell the web tier that this worker is alive and what it can do; after a job not every time."""
        if timeout is None and pipeline is None and time.monotonic() - self._last_beat < LOOK_SECONDS:
            return
        super().heartbeat(timeout, pipeline=pipeline)
        self._last_beat = time.monotonic()
        self._fleet.announce(self._info(), ttl=self.settings.lease)

    def _info(self) -> WorkerInfo:
        catalog = self._reader.read()
        return WorkerInfo(
            name=self.name,
            host=self.hostname or "",
            pid=self.pid or 0,
            state=str(getattr(self.get_state(), "value", "")),
            installed=catalog.installed(self.settings.weights_dir),
            ready=bool(self._about),
            engine=str(self._about.get("engine", "")),
            started_at=self._born,
            models=list(self._about.get("models", ())),
            arithmetic=dict(self._about.get("arithmetic", {})),
            memory_bytes=resident_memory(self._horse.pid) if self._horse.pid else 0,
            jobs_done=self._jobs_done,
            restarts=max(0, self._horse.births - 1),
        )

    def run_maintenance_tasks(self) -> None:
        """RQ's, and the janitor's round."""
        super().run_maintenance_tasks()
        try:
            self._janitor.tick()
        except TransientError as error:
            log.warning("no janitor now: %s", error)

    def teardown(self) -> None:
        """See to what the horse has begun, end it and what it has left to end, then RQ's."""
        self._stop_requested = True
        try:
            self._take_back_the_next()
            if (found := self._next_in_hand()) is not None:
                self.execute_job(*found)
            self._end_horse()
            end = time.monotonic() + self.settings.drain_timeout
            while not self._closer.is_done(POLL_SECONDS / 10) and not self._drained and time.monotonic() < end:
                self._beat(force=False)
            self._closer.give_back()
        finally:
            try:
                self._say_farewell()
            finally:
                if not self._closer.is_done(0):
                    # its threads wait for a disk that hangs, and Python would wait for them
                    logging.shutdown()
                    os._exit(os.EX_TEMPFAIL if self._drain_timer is None else os.EX_OK)

    def _say_farewell(self) -> None:
        self._end_horse()
        self._janitor.end()
        try:
            self._fleet.leave(self.name)
        finally:
            super().teardown()

    # -- the end

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """SIGTERM or SIGINT: take no more jobs, let the present one end, put it back after the drain time.

        Only flags are set here. RQ raises out of its handler, at any bytecode, also between dequeue and start;
        jobs are lost that way (RQ issue 2175). A second signal does not wait any longer.
        """
        if self._stop_requested:
            self._drain_expired()
            return
        self._shutdown_requested_date = datetime.now(UTC)
        self._stop_requested = True
        self._drain_timer = threading.Timer(self.settings.drain_timeout, self._drain_expired)
        self._drain_timer.daemon = True
        self._drain_timer.start()

    def _drain_expired(self) -> None:
        self._drained = True
        if self._horse_pid:
            self._horse.signal(signal.SIGKILL)
