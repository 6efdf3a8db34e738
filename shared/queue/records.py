"""A job as Redis knows it, read from the fields of RQ's hash."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import utcparse

from shared.jobs import ErrorInfo, JobRequest, JobState, Progress
from shared.queue import keys
from shared.queue.connection import text
from shared.settings import Settings

_STATES: Final = {
    JobStatus.CREATED: JobState.QUEUED,
    JobStatus.QUEUED: JobState.QUEUED,
    JobStatus.DEFERRED: JobState.RUNNING,  # it waits for its parts, which run
    JobStatus.SCHEDULED: JobState.QUEUED,
    JobStatus.STARTED: JobState.RUNNING,
    JobStatus.FINISHED: JobState.FINISHED,
    JobStatus.FAILED: JobState.FAILED,
    JobStatus.STOPPED: JobState.CANCELED,
    JobStatus.CANCELED: JobState.CANCELED,
}

#: an RQ failure without words of ours: the worker died, and others gave up after the last attempt
CRASHED: Final = ErrorInfo(code="crashed", message="The worker died while working on this file, also when tried again.")

EXPIRED: Final = ErrorInfo(code="expired", message="This file was not finished by the deadline of its sender.")


RequestT = TypeVar("RequestT", bound=BaseModel)
ProgressT = TypeVar("ProgressT", bound=BaseModel)


class BaseRecord(BaseModel, Generic[RequestT, ProgressT]):
    """What Redis knows of a job of any kind."""

    request: RequestT
    state: JobState
    position: int | None = None
    progress: ProgressT | None = None
    attempts: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: ErrorInfo | None = None


class JobRecord(BaseRecord[JobRequest, Progress]):
    """A job as Redis knows it."""

    queued_at: datetime
    """when it was made, or tried again by somebody"""
    expires_at: datetime | None = None
    worker: str | None = None
    """the one that had it last"""


class JobPage(NamedTuple):
    """A page of a list, and where the next begins."""

    records: list[JobRecord]
    next: str | None


class Submitted(NamedTuple):
    """A job that was put into the queue."""

    position: int
    """1 for the next to be run"""
    news: str
    """the newest entry of its events, to wait from there"""


class CacheEntry(NamedTuple):
    """The finished job that answers a cache key."""

    job_id: str
    arithmetic: str
    """in which it was computed (`shared.results.ModelUsed.arithmetic`)"""


class Change(NamedTuple):
    """What became of a job that was waited for."""

    news: str | None
    """the newest entry of its events; None if there was none in time"""
    ended: bool
    record: JobRecord | None
    """of a job that has ended; None for one that is gone, too"""


class CancelOutcome(StrEnum):
    """What became of a wish to cancel."""

    CANCELED = "canceled"
    STOPPING = "stopping"
    TOO_LATE = "too_late"


def state_of(status: JobStatus) -> JobState:
    """What a state of RQ's is in public."""
    return _STATES[status]


def public_state(status: JobStatus, *, has_begun: bool) -> JobState:
    """The public state. A video whose parts are done is queued once more, which is nobody's business."""
    state = _STATES[status]
    return JobState.RUNNING if has_begun and state is JobState.QUEUED else state


def record_of(job: Job, fields: Mapping[bytes | str, bytes | str], ttl: int, settings: Settings) -> JobRecord | None:
    """The job; None if the fields are of none that can be read.

    Args:
        job: RQ's, of which nothing but the id is known yet.
        fields: of its hash.
        ttl: seconds until Redis forgets it; negative: it will not by itself.
        settings: the settings.
    """
    try:
        job.restore(fields)
        request = JobRequest.model_validate(job.kwargs["request"])
    except (NoSuchJobError, KeyError, ValueError, ValidationError):
        return None
    began = fields.get(keys.BEGAN.encode())
    state = public_state(job.get_status(refresh=False), has_begun=began is not None)
    error = None
    if state is JobState.FAILED:
        raw = fields.get(keys.ERROR.encode())
        error = ErrorInfo.model_validate_json(raw) if raw else CRASHED
    progress = fields.get(keys.PROGRESS.encode())
    return JobRecord(
        request=request,
        state=state,
        progress=_progress(progress) if progress and state is JobState.RUNNING else None,
        attempts=int(fields.get(keys.ATTEMPTS.encode(), 0)),
        started_at=None if state is JobState.QUEUED else utcparse(text(began)) if began else job.started_at,
        finished_at=job.ended_at if state.is_final else None,
        queued_at=job.enqueued_at or request.created_at,
        expires_at=_expiry(job, state, ttl, settings),
        error=error,
        worker=job.worker_name,
    )


def _progress(said: bytes | str) -> Progress | None:
    """None, too, for what a worker of a later version says and this one has no words for."""
    try:
        return Progress.model_validate_json(said)
    except ValidationError:
        return None


def _expiry(job: Job, state: JobState, ttl: int, settings: Settings) -> datetime | None:
    if ttl > 0:
        return datetime.now(UTC) + timedelta(seconds=ttl)
    if state in (JobState.FAILED, JobState.CANCELED) and job.ended_at is not None:
        return job.ended_at + timedelta(seconds=settings.failure_ttl)
    return None


def is_late(record: JobRecord | None) -> bool:
    """Whether it waits though its deadline has passed."""
    if record is None or record.state is not JobState.QUEUED or record.request.deadline is None:
        return False
    return datetime.now(UTC) >= record.request.deadline


def cache_entry(found: bytes | None) -> CacheEntry | None:
    """What stands under a cache key."""
    job_id, _, arithmetic = text(found).partition(" ") if found else ("", "", "")
    return CacheEntry(job_id, arithmetic) if job_id else None
