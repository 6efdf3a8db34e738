"""An RQ worker that runs a job, and says how it ended, only while the job is its own."""

import faulthandler
import logging
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType
from typing import Any, Final, cast

import redis
from redis.client import Pipeline
from rq import Queue, Worker
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from shared.errors import BadInputError, PublicError
from shared.jobs import ErrorInfo
from shared.queue import JobQueue, Lane, PartsPendingError, keys
from shared.queue.events import KEPT_AFTER_END
from shared.queue.records import EXPIRED
from shared.queue.work import Work
from shared.settings import Settings
from worker.resident import scripts
from worker.resident.asked import deadline_passed, video_of
from worker.resident.interruptions import LimitReachedError
from worker.resident.limits import LimitPenalty
from worker.resident.verdicts import public_error, worth_waiting

log = logging.getLogger(__name__)

#: opens the queue that a worker works on; the horse does so anew, so it must be a name of a module
OpenWork = Callable[[redis.Redis, Settings], Work]

#: seconds after a job's limit until its process is ended
HANG_GRACE: Final = 5
#: seconds to wait after a part of the service was found away, before another job is tried; doubled while it stays away
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0


class End(Enum):
    """What became of a job whose function has returned; the numbers are those of `scripts.FINISH`."""

    LOST = 0
    """the lease was lost: it is another worker's"""
    FINISHED = 1
    HAS_DEPENDENTS = 2
    """other jobs wait for this one, which is RQ's to see to: it has not ended yet"""
    DELETED = 3
    """meanwhile; nothing of it is left in Redis"""
    CANCELED = 4
    """meanwhile"""


class NotOursError(BaseException):
    """The job was put back, deleted or canceled between dequeue and start: touch nothing of it."""


class FencedWorker(Worker):
    """What the parent and the horse have in common.

    Args:
        connection: a patient connection (see `shared.queue.connect`).
        settings: the settings.
        allowed: the functions that may run, by path. JSON in Redis is not enough: a job may name any function.
        name: of the worker; the horse has its parent's.
        work: which jobs it takes.
    """

    death_penalty_class = LimitPenalty

    def __init__(
        self,
        connection: redis.Redis,
        settings: Settings,
        allowed: frozenset[str],
        name: str | None = None,
        *,
        work: OpenWork = JobQueue,
        prepare_for_work: bool = True,
    ) -> None:
        self.jobs = work(connection, settings)
        super().__init__(
            list(self.jobs.lanes.all),
            name=name,
            connection=connection,
            queue_class=Lane,
            serializer=JSONSerializer,
            worker_ttl=settings.lease,
            maintenance_interval=max(1, settings.lease // 3),
            job_monitoring_interval=max(1, settings.lease // 3),
            prepare_for_work=prepare_for_work,
            log_job_description=False,
        )
        self.log_result_lifespan = False
        self.settings = settings
        self.allowed = allowed
        self._begin = connection.register_script(scripts.BEGIN)
        self._give_back = connection.register_script(scripts.GIVE_BACK)
        self._put_back = connection.register_script(scripts.PUT_BACK)
        #: whether to begin the job that comes is a turn of its lane
        self.contended = False
        self._error: ErrorInfo | None = None
        self._transient = False
        self._away = 0
        self._seen_in_between: dict[str, float] = {}
        self.push_exc_handler(self._on_abandoned)

    def begin_anew(self, execution: Execution) -> None:
        """Turn to a job that has been begun."""
        self.execution = execution
        self._error, self._transient = None, False

    def get_heartbeat_ttl(self, job: Job) -> int:  # noqa: ARG002
        """The lease. RQ adds a minute to it, and a dead worker's job would wait for that minute."""
        return self.settings.lease

    # -- who may run a job

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:  # noqa: ARG002
        """Claim the job and begin it, in one step with taking it out of the intermediate queue."""
        execution, queue = cast(Execution, self.execution), self.jobs.lanes.named(job.origin)
        now = datetime.now(UTC)
        begun = self._begin(
            keys=[
                queue.intermediate_queue_key,
                job.key,
                self.key,
                keys.events(job.id),
                execution.key,
                ExecutionRegistry(job.id, self.connection).key,
                queue.started_job_registry.key,
                keys.TURN,
            ],
            args=[
                job.id,
                keys.CANCEL,
                self.name,
                utcformat(now),
                now.timestamp(),
                execution.id,
                execution.composite_key,
                self.settings.lease,
                keys.TAKEN,
                int(self.contended),
            ],
        )
        if begun != 1:
            self.execution = None
            if begun == 2:
                self.jobs.mark_canceled(job)
            raise NotOursError(job.id)
        job.worker_name, job.started_at, job.last_heartbeat = self.name, now, now
        self._arm(job)
        if job.func_name not in self.allowed:
            raise PublicError("internal", "This job names a function that workers do not run.")
        if deadline_passed(job):
            raise PublicError(EXPIRED.code, EXPIRED.message)

    def _arm(self, job: Job) -> None:
        """End the process a while after the job's limit, for what neither signal nor exception reaches.

        A thread of C: it fires even when native code holds the interpreter. It covers the job alone, not the
        bookkeeping around it, which may wait for Redis for long.
        """
        timeout = int(job.timeout or self.settings.job_timeout)
        faulthandler.dump_traceback_later(timeout + HANG_GRACE, exit=True)

    def set_current_job_id(self, job_id: str | None = None, pipeline: Pipeline | None = None) -> None:
        """RQ's, but to let go of a job is not to let go of the next one, which has been begun meanwhile."""
        if job_id is not None:
            super().set_current_job_id(job_id, pipeline)
        elif self.execution is not None:
            # the text and not its hash: a pipeline would ask first whether Redis knows the hash
            (pipeline or self.connection).eval(scripts.LET_GO, 1, self.key, self.execution.job_id)

    def renew(self, job: Job, execution: Execution) -> bool:
        """Make the lease of a job last anew. False: it is not this worker's any more."""
        until = time.time() + self.settings.lease
        changed = self.connection.zadd(job.started_job_registry.key, {execution.composite_key: until}, xx=True, ch=True)
        return bool(changed)

    def still_ours(self, job: Job) -> bool:
        """Whether the job's lease is still this worker's, which makes it last anew."""
        return self.execution is not None and self.renew(job, self.execution)

    # -- who may say how it ended

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """RQ's, except for a job that is not ours (a heartbeat would bring a deleted one back) or has ended well."""
        faulthandler.cancel_dump_traceback_later()
        error = sys.exception()
        if error is None:
            job.ended_at = datetime.now(UTC)  # what comes next says it
        elif not isinstance(error, NotOursError):
            super().handle_execution_ended(job, queue, heartbeat_ttl)

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry) -> None:  # noqa: ARG002
        """What RQ does, in one step, if the lease was kept."""
        self._end_well(job, queue, "", None)

    def end_stored(self, job: Job, queue: Queue, record: Callable[[Pipeline], None]) -> End:
        """End a job whose result can still be taken back: if somebody wishes it canceled, it is.

        Args:
            job: ended at its `ended_at`, or now.
            queue: its own.
            record: puts what is to be written of a finished job into the pipeline that ends it.
        """
        return self._end_well(job, queue, keys.CANCEL, record)

    def _end_well(self, job: Job, queue: Queue, cancel_field: str, record: Callable[[Pipeline], None] | None) -> End:
        self._away = 0
        if self.execution is None:
            end = End.LOST
        else:
            end = self._finish_in_one_step(job, queue, self.execution, cancel_field, record)
        if end is End.HAS_DEPENDENTS:
            self._finish_by_rq(job, queue, queue.started_job_registry)
            return End.FINISHED
        if end is End.LOST:
            log.warning("job %s: the lease was lost, the result is dropped", job.id)
        self.execution = None
        return end

    def _finish_in_one_step(
        self,
        job: Job,
        queue: Queue,
        execution: Execution,
        cancel_field: str,
        record: Callable[[Pipeline], None] | None,
    ) -> End:
        now, ended = time.time(), job.ended_at or datetime.now(UTC)
        worked = (ended - (job.started_at or ended)).total_seconds()
        ttl = job.result_ttl or self.settings.result_ttl
        named = [
            queue.started_job_registry.key,
            job.key,
            job.dependents_key,
            self.key,
            execution.key,
            ExecutionRegistry(job.id, self.connection).key,
            queue.finished_job_registry.key,
            keys.events(job.id),
            keys.deleted(job.id),
            queue.canceled_job_registry.key,
        ]
        arguments = [
            execution.composite_key,
            execution.id,
            job.id,
            utcformat(ended),
            worked,
            ttl,
            int(now) + ttl,
            KEPT_AFTER_END,
            now + self.settings.lease,
            cancel_field,
            now,
            self.settings.failure_ttl,
        ]
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.eval(scripts.FINISH, len(named), *named, *arguments)
            if record is not None:
                record(pipe)
            return End(pipe.execute()[0])

    def _finish_by_rq(self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry) -> None:
        execution = self.execution
        super().handle_job_success(job, queue, started_job_registry)
        with self.connection.pipeline() as pipe:
            if execution is not None:
                # RQ forgets the execution when dependents are added at the same moment (RQ issue 2424)
                execution.delete(job=job, pipeline=pipe)
            # RQ's stream of return values: ours lie in storage, and a stream takes 4 KB
            pipe.delete(f"rq:results:{job.id}")
            self.jobs.events.publish(job.id, pipe, last=True)
            pipe.execute()
        self.jobs.bury(job.id)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:  # noqa: ANN401
        """Find the public words for an exception, and whether trying again makes sense."""
        _, error, _ = exc_info
        if isinstance(error, NotOursError | PartsPendingError):
            return
        self._error = public_error(error)
        self._transient = worth_waiting(error)
        if deadline_passed(job) and (self._transient or isinstance(error, LimitReachedError)):
            self._error, self._transient = EXPIRED, False
            job.retries_left = 0
            return
        if self._stopped_job_id == job.id:
            log.info("job %s was stopped", job.id)
        elif isinstance(error, BadInputError) or (isinstance(error, PublicError) and not self._transient):
            job.retries_left = 0  # the same again gives the same again
            log.info("job %s: %s", job.id, error)
        elif self._transient:
            log.warning("job %s: %s", job.id, error)
        else:
            log.error("job %s failed", job.id, exc_info=_exc_info(exc_info))

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
    ) -> None:
        """RQ's, if the lease was kept, with the public words beside; back to the queue if only we are to blame."""
        if isinstance(sys.exception(), NotOursError):
            return
        if self._transient:
            # while the job is still ours: the parent keeps the lease of what runs
            time.sleep(self._pause())
        if self.execution is not None and not self.still_ours(job):
            log.warning("job %s: the lease was lost, the failure is dropped", job.id)
            self.execution = None
            return
        if isinstance(sys.exception(), PartsPendingError) and self._stopped_job_id != job.id:
            self._away = 0
            self.park(job)
            return
        if self._transient and self.execution is not None and self._stopped_job_id != job.id:
            self.put_back(job, self.execution, at_front=False)
            self.execution = None
            return
        stopped = self._stopped_job_id == job.id
        last = stopped or not job.should_retry
        with self.connection.pipeline() as pipe:
            if job.should_retry and not stopped:
                pipe.hincrby(job.key, keys.ATTEMPTS, 1)
            elif self._error is not None and not stopped:
                pipe.hset(job.key, keys.ERROR, self._error.model_dump_json())
            pipe.hdel(job.key, keys.PROGRESS)
            pipe.execute()
        super().handle_job_failure(job, queue, started_job_registry, exc_string)
        if stopped:  # RQ counts it among the failed
            with self.connection.pipeline() as pipe:
                pipe.zrem(job.failed_job_registry.key, job.id)
                pipe.zadd(queue.canceled_job_registry.key, {job.id: time.time()})
                pipe.execute()
        self.jobs.events.publish(job.id)
        if last and (video := video_of(job)) is not None:  # which fails with it
            self.jobs.parts.wake(video)

    def _pause(self) -> float:
        """How long to wait now: longer each time, and each worker for another time."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._away, 10))
        self._away += 1
        return pause * random.uniform(0.5, 1)  # noqa: S311

    def put_back_unbegun(self, job_id: str, queue: Queue) -> bool:
        """Put a job that was taken and not begun back, in front. False: it has been begun, or is not there."""
        names = [queue.key, queue.intermediate_queue_key, Job.key_for(job_id), keys.BELL]
        return bool(self._put_back(keys=names, args=[job_id, keys.TAKEN]))

    def put_back(self, job: Job, execution: Execution, *, at_front: bool) -> bool:
        """Put a started job back into the queue without charging a retry, if its lease was kept; whether it was."""
        queue = self.jobs.lanes.named(job.origin)
        done = self._give_back(
            keys=[
                queue.started_job_registry.key,
                job.key,
                queue.key,
                execution.key,
                ExecutionRegistry(job.id, self.connection).key,
                self.key,
                keys.BELL,
                keys.events(job.id),
                keys.deleted(job.id),
            ],
            args=[execution.composite_key, execution.id, job.id, int(at_front), keys.PROGRESS],
        )
        return bool(done)

    def park(self, job: Job) -> None:
        """Have a started job wait for its parts, without a worker."""
        with self.connection.pipeline() as pipe:
            self.cleanup_execution(job, pipeline=pipe)
            self.jobs.parts.park(job, self.jobs.lanes.named(job.origin), pipe)
            pipe.execute()

    # -- what dead workers left

    def clean_registries(self) -> None:
        """RQ's, and jobs that a worker left between dequeue and start go back to the front."""
        for queue in self.queues:
            if self.connection.ttl(queue.registry_cleaning_key) > self.settings.lease:
                # RQ's lock lasts 15 minutes when its owner is killed
                self.connection.expire(queue.registry_cleaning_key, self.settings.lease)
        self._recover_intermediate()
        super().clean_registries()
        for job_id in self.jobs.parts.sweep():
            log.info("job %s waited for parts that do not come by themselves: it looks again", job_id)
        self.jobs.forget_expired(max(self.settings.result_ttl, self.settings.failure_ttl) + self.settings.lease)

    def _on_abandoned(self, job: Job, *_exc_info: Any) -> bool:  # noqa: ANN401
        """Called for a job whose worker fell silent, before RQ has it tried again or gives it up."""
        with self.connection.pipeline() as pipe:
            if job.retries_left:
                pipe.hincrby(job.key, keys.ATTEMPTS, 1)
            pipe.hdel(job.key, keys.PROGRESS)
            self.jobs.events.publish(job.id, pipe)
            pipe.execute()
        return True

    def _recover_intermediate(self) -> None:
        now = time.monotonic()
        present = {job_id: queue for queue in self.queues for job_id in queue.intermediate_queue.get_job_ids()}
        self._seen_in_between = {job_id: self._seen_in_between.get(job_id, now) for job_id in present}
        for job_id, queue in present.items():
            if now - self._seen_in_between[job_id] < self.settings.lease:
                continue
            if self.put_back_unbegun(job_id, queue):
                log.warning("job %s was left between dequeue and start: put back", job_id)


def _exc_info(exc_info: Sequence[Any]) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    kind, error, traceback = exc_info
    return kind, error, traceback
