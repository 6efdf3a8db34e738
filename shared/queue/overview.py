"""What an operator wants to see of the queue; and to run a failed job again."""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

import redis
from pydantic import BaseModel
from redis.client import Pipeline
from redis.exceptions import WatchError
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from shared.errors import PublicError
from shared.jobs import ErrorInfo, Priority
from shared.queue import keys
from shared.queue.connection import queue_errors, text
from shared.queue.jobs import JobQueue
from shared.queue.lanes import Lane
from shared.queue.parts import video_of
from shared.queue.records import CRASHED, JobRecord
from shared.queue.room import Waiting
from shared.settings import Settings


class LaneOverview(BaseModel):
    """One of both queues."""

    priority: Priority
    waiting: int
    oldest_seconds: float


class Failures(BaseModel):
    """The failed jobs that Redis knows."""

    total: int
    by_code: dict[str, int]
    """of the newest `Overview.MOST_COUNTED`, most frequent first"""
    newest: list[JobRecord]


class Overview:
    """Looks at the queue as a whole. Changes nothing but in `retry`.

    Args:
        jobs: the queue.
        settings: for the number of attempts that a job has.
    """

    #: failed jobs whose codes are counted
    MOST_COUNTED: Final = 5000

    def __init__(self, jobs: JobQueue, settings: Settings) -> None:
        self._redis: redis.Redis = jobs.redis
        self._jobs = jobs
        self._settings = settings

    @queue_errors()
    def lanes(self) -> list[LaneOverview]:
        """Both queues, the one of higher priority first."""
        found = []
        for priority in (Priority.INTERACTIVE, Priority.BULK):
            lane = self._jobs.lanes.of(priority)
            first = self._redis.lindex(lane.key, 0)
            record = self._jobs.get_many([text(first)], positions=False)[0] if first else None
            age = (datetime.now(UTC) - record.queued_at).total_seconds() if record is not None else 0.0
            found.append(
                LaneOverview(priority=priority, waiting=int(self._redis.llen(lane.key)), oldest_seconds=max(0.0, age))
            )
        return found

    @queue_errors()
    def waiting(self, limit: int) -> list[JobRecord]:
        """The jobs of each queue that are next, at most so many of each."""
        ids = [text(each) for lane in self._jobs.lanes for each in self._redis.lrange(lane.key, 0, limit - 1)]
        return [record for record in self._jobs.get_many(ids) if record is not None]

    @queue_errors()
    def running(self) -> list[JobRecord]:
        """The jobs that workers have, or parts of: as many as workers, those that dead ones left, and long videos."""
        ids: dict[str, None] = {}
        for lane in self._jobs.lanes:
            members: list[bytes] = self._redis.zrange(lane.started_job_registry.key, 0, -1)  # type: ignore[assignment]
            for member in members:
                ids[text(member).partition(":")[0]] = None
            parked: list[bytes] = self._redis.zrange(lane.deferred_job_registry.key, 0, -1)  # type: ignore[assignment]
            ids |= dict.fromkeys(map(text, parked))
        return [record for record in self._jobs.get_many(list(ids), positions=False) if record is not None]

    @queue_errors()
    def at_work(self) -> dict[str, JobRecord]:
        """Which job each worker has, by the worker's name; who does a part of a video has that video.

        A job's own record names the worker that had it last. That of a video in parts is who planned it, who may have
        long been at something else.
        """
        ids: dict[str, None] = {}
        for lane in self._jobs.lanes.all:
            members: list[bytes] = self._redis.zrange(lane.started_job_registry.key, 0, -1)  # type: ignore[assignment]
            ids |= dict.fromkeys(text(member).partition(":")[0] for member in members)
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(Job.key_for(job_id), "status", "worker_name")
        holders: dict[str, str] = {}
        for job_id, (status, worker) in zip(ids, pipe.execute(), strict=True):
            if worker and status and text(status) == JobStatus.STARTED.value:
                holders[text(worker)] = video_of(job_id)
        records = self._jobs.get_many(list(holders.values()), positions=False)
        return {worker: record for worker, record in zip(holders, records, strict=True) if record is not None}

    @queue_errors()
    def failures(self, limit: int) -> Failures:
        """Counts of failed jobs, and the newest so many of them."""
        found: list[tuple[str, float]] = []
        total = 0
        for lane in self._jobs.lanes:
            key = lane.failed_job_registry.key
            total += int(self._redis.zcard(key))
            scored: list[tuple[bytes, float]] = self._redis.zrange(  # type: ignore[assignment]
                key, 0, self.MOST_COUNTED - 1, desc=True, withscores=True
            )
            found += [(text(member), score) for member, score in scored]
        found.sort(key=lambda item: -item[1])  # the score is when it expires, which is as long after its end for each
        ids = [job_id for job_id, _ in found[: self.MOST_COUNTED]]
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hmget(Job.key_for(job_id), "status", keys.ERROR)
        counts: Counter[str] = Counter()
        for status, error in pipe.execute():
            if status is not None:
                counts[ErrorInfo.model_validate_json(error).code if error else CRASHED.code] += 1
        newest = [record for record in self._jobs.get_many(ids[:limit], positions=False) if record is not None]
        return Failures(total=total, by_code=dict(counts.most_common()), newest=newest)

    @queue_errors()
    def retry(self, job_id: str, client: str | None = None) -> None:
        """Put a failed job back into its queue, as new. Whether its input is still there, the caller has looked.

        Args:
            job_id: the job.
            client: whose waiting jobs it is one of again, if it is to count against a client's own limit.

        Raises:
            PublicError: "not_found"; "conflict": it has not failed, or its deadline has passed; "queue_full".
        """
        while (full := self._put_back(job_id, client)) is not None:
            self._jobs.room.check(1, client, full)  # may find that jobs of the client have ended: then again

    def _put_back(self, job_id: str, client: str | None) -> Waiting | None:
        """As `retry`. How many wait, if there was no room."""
        with self._redis.pipeline() as pipe:
            try:
                pipe.watch(Job.key_for(job_id))  # type: ignore[no-untyped-call]
                record = self._jobs.get(job_id)
                try:
                    job = Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
                except NoSuchJobError:
                    raise PublicError("not_found", "There is no such job.") from None
                if record is None or job.get_status(refresh=False) is not JobStatus.FAILED:
                    raise PublicError("conflict", "The job has not failed.")
                deadline = record.request.deadline
                if deadline is not None and datetime.now(UTC) >= deadline:
                    raise PublicError("conflict", "The deadline of the job has passed.")
                lane = self._jobs.lanes.named(job.origin)
                job.redis_server_version = lane.get_redis_server_version()
                work = self._redis.pipeline()
                self._make_new(job, record, lane, work)
                if client is not None:
                    self._jobs.room.clients.add(client, [job_id], datetime.now(UTC).timestamp(), work)
                pipe.multi()
                self._jobs.parts.drop(job_id, pipe)  # those of a video that have failed, too, are to be done again
                self._jobs.room.ask_to_admit(work, 1, client, pipe)
                *_, said = pipe.execute()
            except WatchError:  # somebody else pressed it, too
                raise PublicError("conflict", "The job has just changed; look again.") from None
        return None if isinstance(said[0], list) else Waiting(*said)

    def _make_new(self, job: Job, record: JobRecord, lane: Lane, pipe: Pipeline) -> None:
        job.started_at = job.ended_at = None
        job._exc_info = ""  # noqa: SLF001  as RQ's own `requeue` does
        job.retries_left = self._settings.job_retries or None
        pipe.zrem(lane.failed_job_registry.key, job.id)
        pipe.hdel(job.key, keys.ERROR, keys.ATTEMPTS, keys.CANCEL, keys.PROGRESS, keys.BEGAN, "ended_at", "started_at")
        pipe.persist(job.key)
        lane._enqueue_job(job, pipeline=pipe)  # noqa: SLF001  RQ has no public way
        request, hooks = record.request, self._jobs.hooks
        pipe.zadd(keys.JOBS, {job.id: request.created_at.timestamp()}, nx=True)
        if request.deadline is not None:
            pipe.zadd(keys.DEADLINES, {job.id: request.deadline.timestamp()})
        if not hooks.wait_for(job.id):  # that it failed was told: this end is another
            for url in hooks.urls(request.webhook, self._settings.webhook_url):
                hooks.add(job.id, url, pipe)
        self._jobs.events.publish(job.id, pipe)
