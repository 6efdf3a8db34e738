"""`POST /jobs/<id>/retry`: a job that has failed once more, as it was, behind the same link."""

from apiflask import APIBlueprint

from shared.errors import PublicError
from shared.jobs import JobView
from web.access import need_own_job
from web.access_log import note_jobs
from web.ids import checked_id
from web.limits import client
from web.presenting import find_job
from web.services import Services, services

bp = APIBlueprint("retrying", __name__, tag="Jobs")


@bp.post("/jobs/<job_id>/retry")
@bp.output(JobView, status_code=202)
@bp.doc(
    summary="Try a failed job again",
    description=(
        "The job goes back into its queue as if it were new, with the same id and link. Faults of the file itself, "
        "such as `bad_image`, will be the same again."
    ),
    responses={
        403: "The job belongs to another key.",
        404: "There is no such job.",
        409: "It has not failed, or its deadline has passed.",
        410: "The uploaded file is no longer there.",
        429: "The queue is full; see `Retry-After`.",
    },
)
def retry(job_id: str) -> JobView:
    """Put a failed job back into its queue."""
    job_id = checked_id(job_id)
    need_own_job(job_id)
    put_back(services(), job_id, client())
    note_jobs([job_id])
    return find_job(services(), job_id)


def put_back(parts: Services, job_id: str, by: str | None = None) -> None:
    """Put a failed job back into its queue.

    Args:
        parts: of the service.
        job_id: the job.
        by: the client whose waiting jobs it is one of again; none for an operator.

    Raises:
        PublicError: "not_found"; "input_gone"; "conflict": it has not failed, or its deadline has passed.
    """
    record = parts.queue.get(job_id)
    if record is not None and parts.storage.stat(record.request.input.key) is None:
        raise PublicError("input_gone", "The uploaded file is no longer there.")
    parts.overview.retry(job_id, by)
