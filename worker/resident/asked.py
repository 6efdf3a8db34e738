"""What the request in an RQ job says that its worker must know."""

from datetime import UTC, datetime

from rq.job import Job


def deadline_of(job: Job) -> datetime | None:
    """When the sender of the job loses interest, if ever."""
    request = job.kwargs.get("request")
    deadline = request.get("deadline") if isinstance(request, dict) else None
    return datetime.fromisoformat(deadline) if isinstance(deadline, str) else None


def request_id_of(job: Job) -> str | None:
    """Which request brought the job, if that is known."""
    request = job.kwargs.get("request")
    found = request.get("request_id") if isinstance(request, dict) else None
    return found if isinstance(found, str) else None


def video_of(job: Job) -> str | None:
    """Id of the job whose part this is, if it is one."""
    request = job.kwargs.get("request")
    found = request.get("video") if isinstance(request, dict) else None
    return found if isinstance(found, str) else None


def deadline_passed(job: Job) -> bool:
    """Whether the sender of the job has lost interest."""
    deadline = deadline_of(job)
    return deadline is not None and datetime.now(UTC) >= deadline
