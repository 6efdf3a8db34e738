"""The parts of long videos: jobs of their own, taken by any worker, that nobody but their video's job knows.

The video's job makes them and then waits for them without a worker (RQ calls it deferred). The last part, or one that
fails, has it go on; it then looks what there is in storage, which alone says what is done. So if anything is lost on
the way, it is enough to have the video's job look again, and that is what `sweep` sees to.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import redis
from pydantic import BaseModel
from rq import Retry
from rq.job import Job, JobStatus
from rq.utils import utcformat

from shared.errors import PublicError
from shared.jobs import PART_FUNCTION, ErrorInfo, JobRequest, PartRequest, PartsProgress, Progress
from shared.queue import keys, scripts
from shared.queue.connection import queue_errors, text
from shared.queue.lanes import Lane, Lanes
from shared.settings import DAY, Settings

#: seconds that the state of parts is remembered after the last word of them
_REMEMBERED: Final = 7 * DAY
#: seconds that a part is remembered which is done, for whoever looks at the queue with RQ's tools
_DONE_REMEMBERED: Final = 600
#: seconds between two live pictures
_BETWEEN_PICTURES: Final = 1
#: of the percent that a job has, those for its parts; the rest is for joining them
_SHARE_OF_PARTS: Final = 0.96

_ON_THE_WAY: Final = frozenset({JobStatus.QUEUED.value, JobStatus.STARTED.value})


class PartsPendingError(Exception):
    """Raised by a job that cannot go on before its parts are done. No failure: the worker parks it."""


class PartOrder(NamedTuple):
    """A part that is to be done."""

    number: int
    #: that are to be looked at, about
    frames: int
    #: seconds it may take
    timeout: int


class PartProgress(BaseModel):
    """How far a part is, as its worker says."""

    percent: float
    frames: int
    fps: float
    at: float


def part_id(job_id: str, number: int) -> str:
    """Id of the job that does a part. None that `JobId` would take: it cannot be asked for."""
    return f"{job_id}-{number}"


def video_of(job_id: str) -> str:
    """Id of the video whose part that job does; the same id if it is no part."""
    return job_id.partition("-")[0]


class Parts:
    """Makes, follows and ends the parts of videos."""

    def __init__(self, connection: redis.Redis, lanes: Lanes, settings: Settings) -> None:
        self._redis = connection
        self._lanes = lanes
        self._settings = settings
        self._report = connection.register_script(scripts.REPORT_PART)
        self._wake = connection.register_script(scripts.WAKE)
        self._park = connection.register_script(scripts.PARK)
        self._done = connection.register_script(scripts.PART_DONE)
        self._drop = connection.register_script(scripts.DROP_PARTS)

    # -- by the video's job

    @queue_errors()
    def order(self, request: JobRequest, orders: Sequence[PartOrder], done: Mapping[int, int]) -> None:
        """Have all parts done that are not, and are not on the way.

        Args:
            request: of the video.
            orders: all parts.
            done: numbers of the parts that are in storage, and how many frames were looked at.

        Raises:
            PublicError: with which one of them has failed for good.
        """
        missing = [order for order in orders if order.number not in done]
        pipe = self._redis.pipeline(transaction=False)
        for order in missing:
            pipe.hmget(Job.key_for(part_id(request.id, order.number)), "status", keys.ERROR)
        wanted: list[PartOrder] = []
        for order, (status, error) in zip(missing, pipe.execute(), strict=True):
            if status is None or text(status) not in (*_ON_THE_WAY, JobStatus.FAILED.value):
                wanted.append(order)
            elif text(status) == JobStatus.FAILED.value:
                raise _failure(error)
        lane = self._lanes.parts
        version = lane.get_redis_server_version()
        key = keys.parts(request.id)
        pipe = self._redis.pipeline()
        for order in wanted:
            job = self._job(request, order)
            job.redis_server_version = version
            lane.enqueue_job(job, pipeline=pipe)
        pipe.hset(key, "total", len(orders))
        for order in orders:
            pipe.hset(key, f"frames:{order.number}", order.frames)
        if missing:
            pipe.hdel(key, *(f"done:{order.number}" for order in missing))
        if done:
            pipe.hset(key, mapping={f"done:{number}": frames for number, frames in done.items()})
        pipe.expire(key, _REMEMBERED)
        pipe.execute()

    def _job(self, request: JobRequest, order: PartOrder) -> Job:
        part = PartRequest(
            video=request.id, number=order.number, deadline=request.deadline, request_id=request.request_id
        )
        name = part_id(request.id, order.number)
        return self._lanes.parts.create_job(
            PART_FUNCTION,
            kwargs={"request": part.model_dump(mode="json")},
            job_id=name,
            timeout=order.timeout,
            result_ttl=_DONE_REMEMBERED,
            failure_ttl=self._settings.failure_ttl,
            retry=Retry(max=self._settings.job_retries) if self._settings.job_retries else None,
            description=name,
        )

    def park(self, job: Job, lane: Lane, pipe: "redis.client.Pipeline") -> None:
        """Have a started job wait for its parts, with a pipeline of the caller's. It may be that they are done."""
        now = datetime.now(UTC)
        self._park(
            keys=[
                job.key,
                keys.parts(job.id),
                lane.deferred_job_registry.key,
                lane.key,
                keys.BELL,
                keys.events(job.id),
                lane.canceled_job_registry.key,
            ],
            args=[
                job.id,
                now.timestamp(),
                utcformat(now),
                keys.CANCEL,
                keys.BEGAN,
                utcformat(job.started_at or now),
                self._settings.failure_ttl,
            ],
            client=pipe,
        )

    @queue_errors()
    def drop(self, job_id: str, pipe: "redis.client.Pipeline | None" = None) -> None:
        """Forget the parts of a job, at once or with a pipeline. One that a worker has notices at its next report."""
        names = [self._lanes.parts.key, keys.parts(job_id)]
        self._drop(keys=names, args=[part_id(job_id, 0)[:-1], Job.key_for("")], client=pipe)

    # -- by a part

    @queue_errors()
    def report(self, job_id: str, number: int, progress: PartProgress) -> Progress | None:
        """Say how far a part is. How far the video is; None: nobody wants it any more."""
        return self.progress(job_id) if self._note(job_id, f"at:{number}", progress.model_dump_json()) else None

    def _note(self, job_id: str, field: str, value: str | int) -> bool:
        return bool(
            self._report(keys=[Job.key_for(job_id), keys.parts(job_id)], args=[field, value, keys.CANCEL, _REMEMBERED])
        )

    @queue_errors()
    def done(self, job_id: str, number: int, frames: int) -> None:
        """Say that what a part gives is in storage. The last one has the video's job go on."""
        if self._done(keys=[keys.parts(job_id)], args=[f"done:{number}", frames]):
            self.wake(job_id)

    @queue_errors()
    def wants_picture(self, job_id: str) -> bool:
        """Whether the live picture of a video is so old that the caller should make another."""
        return bool(self._redis.set(keys.live(job_id), 1, nx=True, ex=_BETWEEN_PICTURES))

    @queue_errors()
    def has_picture(self, job_id: str, stamp: int) -> None:
        """Note that there is another live picture."""
        self._note(job_id, "live", stamp)

    @queue_errors()
    def progress(self, job_id: str) -> Progress:
        """How far the parts of a video are together."""
        found = {text(name): text(value) for name, value in self._redis.hgetall(keys.parts(job_id)).items()}
        return progress_of(found, time.time() - self._settings.lease)

    # -- by whoever sees that something has to be done

    @queue_errors()
    def wake(self, job_id: str) -> bool:
        """Have a job that waits for its parts look at them again. False if it does not wait."""
        origin = self._redis.hget(Job.key_for(job_id), "origin")
        lane = self._lanes.named(text(origin) if origin else "")
        return bool(
            self._wake(
                keys=[
                    Job.key_for(job_id),
                    lane.deferred_job_registry.key,
                    lane.key,
                    keys.BELL,
                    keys.events(job_id),
                ],
                args=[job_id],
            )
        )

    @queue_errors()
    def sweep(self) -> list[str]:
        """Wake the jobs that wait for parts of which one will not come by itself. Gives their ids."""
        woken = []
        for lane in self._lanes:
            waiting: list[bytes] = self._redis.zrange(lane.deferred_job_registry.key, 0, -1)  # type: ignore[assignment]
            woken += [job_id for job_id in map(text, waiting) if self._is_stuck(job_id) and self.wake(job_id)]
        return woken

    def _is_stuck(self, job_id: str) -> bool:
        fields = {text(name) for name in self._redis.hkeys(keys.parts(job_id))}
        numbers = {name.partition(":")[2] for name in fields if name.startswith("frames:")}
        missing = sorted(number for number in numbers if f"done:{number}" not in fields)
        pipe = self._redis.pipeline(transaction=False)
        for number in missing:
            pipe.hget(Job.key_for(part_id(job_id, int(number))), "status")
        statuses = [text(status) if status is not None else "" for status in pipe.execute()]
        return not statuses or not _ON_THE_WAY.issuperset(statuses)


def progress_of(fields: Mapping[str, str], alive_since: float) -> Progress:
    """How far the parts of a video are together.

    Args:
        fields: the hash of the parts in Redis.
        alive_since: a part of which nothing was heard since then (seconds) is not running.
    """
    total = int(fields.get("total", 0))
    percents, frames, wanted = [0] * total, 0, 0
    running, speed, done, weighed = 0, 0.0, 0, 0.0
    for number in range(total):
        expected = int(fields.get(f"frames:{number}", 0))
        wanted += expected
        if (finished := fields.get(f"done:{number}")) is not None:
            done, percents[number] = done + 1, 100
            frames, weighed = frames + int(finished), weighed + expected
        elif (said := fields.get(f"at:{number}")) is not None:
            part = PartProgress.model_validate_json(said)
            if part.at < alive_since:
                continue
            running, speed, percents[number] = running + 1, speed + part.fps, int(part.percent)
            frames, weighed = frames + part.frames, weighed + expected * part.percent / 100
    share = weighed / wanted if wanted else 0.0
    return Progress(
        phase="inference",
        percent=int(100 * _SHARE_OF_PARTS * share),
        frames=frames,
        fps=round(speed, 2),
        seconds_left=round((wanted - weighed) / speed, 1) if speed > 0 else None,
        parts=PartsProgress(done=done, running=running, total=total, percents=percents),
        live=int(fields["live"]) if "live" in fields else None,
    )


def _failure(error: bytes | None) -> PublicError:
    if error is None:
        return PublicError("crashed", "The worker died while working on a part of this video, also when tried again.")
    info = ErrorInfo.model_validate_json(error)
    return PublicError(info.code, info.message)
