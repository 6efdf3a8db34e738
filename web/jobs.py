"""`/jobs`: what became of an upload."""

from typing import Annotated

from apiflask import APIBlueprint
from flask import Response, current_app, jsonify, request, stream_with_context
from pydantic import BaseModel, Field, StringConstraints

from shared.errors import BadInputError, PublicError
from shared.jobs import JobState, JobSummary, JobView, input_key, parts_prefix, result_prefix
from shared.media import ENDINGS
from shared.queue import CancelOutcome
from web.access import need_own_job, owner
from web.describing import answers
from web.ids import checked_id
from web.live import follow
from web.presenting import find_job, summary_of
from web.services import services
from web.waiting import wait_for_jobs, wanted_wait

bp = APIBlueprint("jobs", __name__, tag="Jobs")

#: jobs that one connection may follow
MOST_FOLLOWED = 64


class ListQuery(BaseModel):
    """Which page of which jobs."""

    state: JobState | None = Field(None, description="only jobs in this state")
    limit: int = Field(50, ge=1, le=200)
    cursor: Annotated[str, StringConstraints(pattern=r"^\(?[0-9.e+]{1,40}$")] | None = Field(
        None, description="`next` of the page before"
    )


class JobList(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobSummary]
    next: str | None = Field(description="cursor of the next page; null on the last")


@bp.get("/jobs")
@bp.input(ListQuery, location="query")
@bp.output(JobList)
@bp.doc(summary="List jobs", description="Newest first. A page filtered by state may be short though more follow.")
def list_jobs(query_data: ListQuery) -> JobList:
    """A page of jobs."""
    try:
        page = services().listing.page(
            state=query_data.state, limit=query_data.limit, cursor=query_data.cursor, owner=owner()
        )
    except ValueError:
        raise BadInputError("invalid_option", "cursor: it is none of ours.") from None
    return JobList(jobs=[summary_of(record) for record in page.records], next=page.next)


@bp.get("/jobs/<job_id>")
@bp.output(JobView)
@bp.doc(
    summary="State and result of a job",
    description="With `Prefer: wait=N` (or `?wait=N`) the answer comes when the job has ended, or after N seconds.",
    responses={404: "There is no such job."},
)
def get_job(job_id: str) -> JobView | Response:
    """The job with its result."""
    job_id = checked_id(job_id)
    wait = wanted_wait(request, services().settings.max_wait)
    return wait_for_jobs(services(), [job_id], wait) if wait else find_job(services(), job_id)


@bp.delete("/jobs/<job_id>")
@bp.output({}, status_code=204)
@bp.doc(summary="Delete a job", description="Stops it, and deletes its input and its result.", responses={404: "None."})
def delete_job(job_id: str) -> tuple[str, int]:
    """Delete all there is of a job."""
    job_id = checked_id(job_id)
    need_own_job(job_id)
    parts = services()
    known = parts.queue.forget(job_id)
    stored = parts.storage.delete_prefix(result_prefix(job_id))
    parts.storage.delete_prefix(parts_prefix(job_id))
    for ending in ENDINGS.values():
        parts.storage.delete(input_key(job_id, ending))
    if not known and not stored:
        raise PublicError("not_found", "There is no such job.")
    return "", 204


@bp.post("/jobs/<job_id>/cancel")
@bp.output(JobView, status_code=202)
@bp.doc(
    summary="Cancel a job",
    description="A waiting job never runs; a running one is stopped.",
    responses={404: "There is no such job.", 409: "It has ended already."},
)
def cancel_job(job_id: str) -> JobView:
    """Cancel a job."""
    job_id = checked_id(job_id)
    need_own_job(job_id)
    parts = services()
    outcome = parts.queue.cancel(job_id)
    if outcome is CancelOutcome.TOO_LATE:
        raise PublicError("conflict", "The job has ended already.")
    if outcome is CancelOutcome.CANCELED:  # else its worker is still writing
        parts.storage.delete_prefix(parts_prefix(job_id))
    return find_job(services(), job_id)


@bp.get("/jobs/<job_id>/events")
@bp.doc(
    summary="News of a job",
    description="Server-sent events `job`, with the job as data, until `end`.",
    responses=answers(("text/event-stream",), {200: "The events.", 404: "There is no such job."}),
)
def job_events(job_id: str) -> Response:
    """News of one job."""
    find_job(services(), checked_id(job_id))
    return _event_stream([job_id])


@bp.get("/events")
@bp.doc(
    summary="News of several jobs",
    description=f"Server-sent events, like `/jobs/<id>/events`. `id` may be given up to {MOST_FOLLOWED} times.",
    responses=answers(("text/event-stream",), {200: "The events.", 404: "An id is none.", 422: "No id, or too many."}),
)
def events() -> Response:
    """News of several jobs over one connection: browsers allow six to a host."""
    job_ids = list(dict.fromkeys(checked_id(job_id) for job_id in request.args.getlist("id")))
    if not 1 <= len(job_ids) <= MOST_FOLLOWED:
        raise BadInputError("invalid_option", f"id: from 1 to {MOST_FOLLOWED} ids are wanted.")
    return _event_stream(job_ids)


def _event_stream(job_ids: list[str]) -> Response:
    return current_app.response_class(
        stream_with_context(follow(services(), job_ids)),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@bp.get("/counts")
@bp.doc(summary="Objects seen so far", description="Per label, over all jobs since the queue's database was made.")
def counts() -> Response:
    """Objects seen so far."""
    found = services().tally.counts(owner())
    return jsonify({"counts": found, "total": sum(found.values())})
