"""Jobs in Redis: submit, look up, cancel, forget. RQ keeps them; this is the one place that asks it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import redis
from rq import Retry
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from shared.errors import PublicError
from shared.jobs import JOB_FUNCTION, JobRequest, JobState, Priority, Progress
from shared.queue import keys, scripts
from shared.queue.connection import queue_errors, text
from shared.queue.events import Events
from shared.queue.hooks import Hooks
from shared.queue.lanes import Lanes, place
from shared.queue.parts import Parts
from shared.queue.records import (
    EXPIRED,
    CacheEntry,
    CancelOutcome,
    Change,
    JobRecord,
    Submitted,
    cache_entry,
    is_late,
    record_of,
    state_of,
)
from shared.queue.room import Room, Waiting
from shared.settings import Settings

log = logging.getLogger(__name__)

#: seconds for which a worker that has a deleted job can find out; longer than any job may take
DELETED_SECONDS: Final = 24 * 3600


class JobQueue:
    """The queue of jobs. Safe to share between threads and greenlets."""

    #: ids looked at in one go
    SCAN_LIMIT: Final = 2000

    def __init__(self, connection: redis.Redis, settings: Settings) -> None:
        self.redis = connection
        self.events = Events(connection)
        self.hooks = Hooks(connection)
        self._settings = settings
        self._set_field = connection.register_script(scripts.SET_FIELD)
        self._wish_canceled = connection.register_script(scripts.WISH_CANCELED)
        self._bury = connection.register_script(scripts.BURY)
        self._expire = connection.register_script(scripts.EXPIRE)
        self.lanes = Lanes(connection)
        self.room = Room(connection, self.lanes, settings)
        self.parts = Parts(connection, self.lanes, settings)

    # -- submit

    @queue_errors()
    def submit(
        self, requests: Sequence[JobRequest], client: str | None = None, unless: Iterable[str] = ()
    ) -> list[Submitted]:
        """Put jobs into the queue: all of them or none, in one step with looking for room.

        Args:
            requests: the jobs.
            client: who brings them, if they are to count against a client's own limit.
            unless: cache keys; if one of them is answered already, nothing is submitted, and the list is empty.

        Raises:
            BadInputError: "too_large": more than would fit into an empty queue.
            PublicError: "queue_full".
            TransientError: "queue_down".
        """
        # asked for here, because RQ would ask in the middle of the pipeline
        version = self.lanes.interactive.get_redis_server_version()
        pipe = self.redis.pipeline()
        news: list[int] = []
        for request in requests:
            lane = self.lanes.of(request.priority)
            job = lane.create_job(
                JOB_FUNCTION,
                kwargs={"request": request.model_dump(mode="json")},
                job_id=request.id,
                timeout=self._settings.job_timeout if request.video is None else self._settings.video_timeout,
                result_ttl=self._settings.result_ttl,
                failure_ttl=self._settings.failure_ttl,
                retry=Retry(max=self._settings.job_retries) if self._settings.job_retries else None,
                description=request.id,
            )
            job.redis_server_version = version
            lane.enqueue_job(job, pipeline=pipe)
            pipe.zadd(keys.JOBS, {request.id: request.created_at.timestamp()})
            if request.deadline is not None:
                pipe.zadd(keys.DEADLINES, {request.id: request.deadline.timestamp()})
            if request.owner is not None:
                self._add_to_owner(request, request.owner, pipe)
            for url in self.hooks.urls(request.webhook, self._settings.webhook_url):
                self.hooks.add(request.id, url, pipe)
            news.append(len(pipe))
            self.events.publish(request.id, pipe)
        if client is not None:
            self.room.clients.add(client, [request.id for request in requests], datetime.now(UTC).timestamp(), pipe)
        for lane in self.lanes:
            pipe.llen(lane.key)
        replies = self.room.admit(pipe, len(requests), client, map(keys.cached, unless))
        if replies is None:
            return []
        interactive, bulk = replies[-2:]
        positions = _positions(requests, interactive, bulk)
        return [Submitted(place, text(replies[at])) for place, at in zip(positions, news, strict=True)]

    @queue_errors()
    def before_submit(self, cache_keys: Sequence[str], client: str) -> tuple[list[CacheEntry | None], Waiting]:
        """What is to be known before jobs are made, in one round trip.

        Args:
            cache_keys: of `shared.jobs.cache_key`.
            client: who brings the jobs.

        Returns:
            The jobs that answer the keys, and how many jobs wait.
        """
        pipe = self.redis.pipeline(transaction=False)
        self.room.ask(client, pipe)
        for cache_key in cache_keys:
            pipe.get(keys.cached(cache_key))
        replies = iter(pipe.execute())
        waiting = self.room.read(client, replies)
        return [cache_entry(found) for found in replies], waiting

    def _add_to_owner(self, request: JobRequest, owner: str, pipe: "redis.client.Pipeline") -> None:
        longest = max(self._settings.result_ttl, self._settings.failure_ttl)
        created = request.created_at.timestamp()
        pipe.zadd(keys.jobs(owner), {request.id: created})
        pipe.zremrangebyscore(keys.jobs(owner), "-inf", created - longest)
        pipe.expire(keys.jobs(owner), longest)

    @queue_errors()
    def waiting(self) -> int:
        """Number of jobs that wait for a worker."""
        return sum(self.lanes.waiting())

    # -- look up

    @queue_errors()
    def get(self, job_id: str) -> JobRecord | None:
        """The job, or None when Redis does not know it (any more)."""
        return self.get_many([job_id])[0]

    @queue_errors()
    def get_many(self, job_ids: Sequence[str], *, positions: bool = True) -> list[JobRecord | None]:
        """The jobs in the order asked for; None for those that Redis does not know (any more)."""
        records = self._read(job_ids)
        if any(is_late(record) for record in records) and self.expire_due():
            records = self._read(job_ids)  # no worker was there to see to it
        if positions:
            self.add_positions(records)
        return records

    def _read(self, job_ids: Sequence[str]) -> list[JobRecord | None]:
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            key = Job.key_for(job_id)
            pipe.hgetall(key)
            pipe.ttl(key)
        found = pipe.execute()
        return [self._record(job_id, found[2 * i], found[2 * i + 1]) for i, job_id in enumerate(job_ids)]

    def _record(self, job_id: str, fields: Mapping[bytes | str, bytes | str], ttl: int) -> JobRecord | None:
        return record_of(Job(job_id, connection=self.redis, serializer=JSONSerializer), fields, ttl, self._settings)

    @queue_errors()
    def await_change(self, job_id: str, seen: str, timeout: float) -> Change:
        """Wait until a job changes, and look at it, in one round trip: Redis does not look before the wait is over.

        Args:
            job_id: the job.
            seen: the last entry of its events that was seen.
            timeout: as for `Events.wait`.
        """
        pipe = self.redis.pipeline(transaction=False)
        self.events.ask({job_id: seen}, timeout, pipe)
        pipe.hgetall(Job.key_for(job_id))
        pipe.ttl(Job.key_for(job_id))
        news, fields, ttl = pipe.execute()
        status = fields.get(b"status")
        ended = status is None or state_of(JobStatus(text(status))).is_final
        return Change(
            self.events.read(news).get(job_id),
            ended,
            self._record(job_id, fields, ttl) if ended else None,
        )

    @queue_errors()
    def add_positions(self, records: Iterable[JobRecord | None]) -> None:
        """Say of those that wait how many are before them."""
        queued = [record for record in records if record is not None and record.state is JobState.QUEUED]
        if not queued:
            return
        pipe = self.redis.pipeline(transaction=False)
        for lane in self.lanes:
            pipe.llen(lane.key)
        for record in queued:
            pipe.lpos(self.lanes.of(record.request.priority).key, record.request.id)
        interactive, bulk, *indexes = pipe.execute()
        for record, index in zip(queued, indexes, strict=True):
            if index is not None:
                record.position = place(record.request.priority, index, interactive, bulk)

    @queue_errors()
    def forget_expired(self, longest_ttl: int) -> None:
        """Take the ids of jobs that Redis must have forgotten by now off the list."""
        self.redis.zremrangebyscore(keys.JOBS, "-inf", datetime.now(UTC).timestamp() - longest_ttl)

    # -- what the janitor asks

    @queue_errors()
    def known(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the jobs that Redis knows, in whatever state."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.exists(Job.key_for(job_id))
        return {job_id for job_id, there in zip(job_ids, pipe.execute(), strict=True) if there}

    @queue_errors()
    def alive(self, job_ids: Sequence[str]) -> set[str]:
        """Those of the jobs that have not ended."""
        pipe = self.redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hget(Job.key_for(job_id), "status")
        return {
            job_id
            for job_id, status in zip(job_ids, pipe.execute(), strict=True)
            if status is not None and not state_of(JobStatus(text(status))).is_final
        }

    @queue_errors()
    def forget_gone(self) -> int:
        """Take jobs that Redis has forgotten off our list, and off the one registry that RQ never cleans."""
        count = 0
        for key in (keys.JOBS, *(lane.canceled_job_registry.key for lane in self.lanes)):
            members = (text(member) for member, _ in self.redis.zscan_iter(key, count=self.SCAN_LIMIT))
            while batch := list(islice(members, self.SCAN_LIMIT)):
                gone = set(batch) - self.known(batch)
                if gone:
                    count += self.redis.zrem(key, *gone)
        return count

    @queue_errors()
    def claim_sweep(self, seconds: int) -> bool:
        """Whether the caller is the one to run the janitor, and nobody else for so many seconds."""
        return bool(self.redis.set(keys.JANITOR, 1, nx=True, ex=seconds))

    # -- cancel and forget

    @queue_errors()
    def cancel(self, job_id: str) -> CancelOutcome:
        """Keep a waiting job from running, or stop a running one. Raises `PublicError("not_found")`."""
        status = self._wish_canceled(keys=[Job.key_for(job_id), keys.events(job_id)], args=[keys.CANCEL])
        if status is None:
            raise PublicError("not_found", "There is no such job.")
        rq_status = JobStatus(text(status))
        state = state_of(rq_status)
        if state.is_final:
            return CancelOutcome.CANCELED if state is JobState.CANCELED else CancelOutcome.TOO_LATE
        if rq_status is not JobStatus.STARTED:
            with suppress(NoSuchJobError):
                self.mark_canceled(Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer))
            self.parts.drop(job_id)
            return CancelOutcome.CANCELED
        try:
            send_stop_job_command(self.redis, job_id, serializer=JSONSerializer)
        except (InvalidJobOperation, NoSuchJobError):
            log.info("job %s ended before it could be stopped", job_id)
        return CancelOutcome.STOPPING

    def mark_canceled(self, job: Job) -> None:
        """Give a job that does not run its end as canceled."""
        pipe = self.redis.pipeline()
        try:
            job.cancel(pipeline=pipe)
        except InvalidJobOperation:  # by the web tier and by the worker that took it, at the same moment
            return
        pipe.zrem(self.lanes.named(job.origin).deferred_job_registry.key, job.id)
        pipe.hset(job.key, "ended_at", utcformat(datetime.now(UTC)))
        pipe.expire(job.key, self._settings.failure_ttl)
        self.events.publish(job.id, pipe)
        pipe.execute()

    @queue_errors()
    def forget(self, job_id: str) -> bool:
        """Delete all that Redis knows of a job, stopping it first. False when it knew nothing."""
        self.redis.set(keys.deleted(job_id), 1, ex=DELETED_SECONDS)
        try:
            job = Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)
        except NoSuchJobError:
            self.redis.zrem(keys.JOBS, job_id)
            return False
        # read first: a worker that ends the job from now on sees that it is deleted, and leaves nothing of it
        request = self._record(job_id, self.redis.hgetall(job.key), -1)
        if not state_of(job.get_status(refresh=False)).is_final:
            try:
                self.cancel(job_id)
            except PublicError as error:
                if error.code != "not_found":  # it has just done so
                    raise
        self.parts.drop(job_id)
        _delete(job)
        CanceledJobRegistry(job.origin, connection=self.redis, serializer=JSONSerializer).remove(job)
        pipe = self.redis.pipeline()
        pipe.zrem(keys.JOBS, job_id)
        pipe.delete(f"rq:results:{job_id}")
        if request is not None:
            pipe.delete(keys.cached(request.request.cache_key))
            if request.request.owner is not None:
                pipe.zrem(keys.jobs(request.request.owner), job_id)
        self.events.publish(job_id, pipe)
        pipe.execute()
        return True

    # -- deadlines

    @queue_errors()
    def expire_due(self) -> int:
        """Fail the waiting jobs whose deadline has passed; returns how many."""
        now = datetime.now(UTC)
        due: list[bytes] = self.redis.zrangebyscore(  # type: ignore[assignment]
            keys.DEADLINES, "-inf", now.timestamp(), start=0, num=self.SCAN_LIMIT
        )
        lanes = list(self.lanes)
        lists = [
            *(lane.key for lane in lanes),
            *(lane.failed_job_registry.key for lane in lanes),
            *(lane.deferred_job_registry.key for lane in lanes),
        ]
        count = 0
        for job_id in map(text, due):
            count += self._expire(
                keys=[keys.DEADLINES, Job.key_for(job_id), keys.events(job_id), *lists],
                args=[job_id, now.timestamp(), utcformat(now), EXPIRED.model_dump_json(), self._settings.failure_ttl],
            )
        return count

    # -- what the worker says

    @queue_errors()
    def was_deleted(self, job_id: str) -> bool:
        """Whether somebody deleted the job while a worker had it: nothing of it may stay behind."""
        return bool(self.redis.exists(keys.deleted(job_id)))

    def bury(self, job_id: str) -> None:
        """Delete what the end of its run left of a job that was deleted meanwhile."""
        registries = [
            registry.key
            for lane in self.lanes.all
            for registry in (lane.failed_job_registry, lane.finished_job_registry, lane.canceled_job_registry)
        ]
        self._bury(keys=[Job.key_for(job_id), keys.deleted(job_id), f"rq:results:{job_id}", *registries], args=[job_id])

    @queue_errors()
    def report_progress(self, job_id: str, progress: Progress) -> None:
        """Say what a running job is doing."""
        self._set_field(
            keys=[Job.key_for(job_id), keys.events(job_id)],
            args=[keys.PROGRESS, progress.model_dump_json(exclude_none=True)],
        )

    # -- the cache of answers

    @queue_errors()
    def remember_cached(
        self, cache_key: str, job_id: str, arithmetic: str, pipeline: "redis.client.Pipeline | None" = None
    ) -> None:
        """Note a finished job as the answer to its cache key; at once or with a pipeline of the caller's."""
        writer = self.redis if pipeline is None else pipeline
        writer.set(keys.cached(cache_key), f"{job_id} {arithmetic}", ex=self._settings.result_ttl)


def _positions(requests: Sequence[JobRequest], interactive: int, bulk: int) -> list[int]:
    """Places of jobs that are the last in their lanes of these lengths, in this order."""
    lengths = {Priority.INTERACTIVE: interactive, Priority.BULK: bulk}
    indexes = {
        priority: length - sum(request.priority is priority for request in requests)
        for priority, length in lengths.items()
    }
    positions = []
    for request in requests:
        positions.append(place(request.priority, indexes[request.priority], interactive, bulk))
        indexes[request.priority] += 1
    return positions


def _delete(job: Job) -> None:
    """RQ's own, which fails if an execution of the job ends between its two looks at it: then look again.

    The worker that had the job may also have buried it by now.
    """
    for _ in range(10):
        with suppress(ValueError):
            try:
                job.delete()
            except InvalidJobOperation:
                return
            return
    job.connection.delete(job.key)
