"""`Prefer: wait=N` (RFC 7240): the synchronous mode."""

import json
import re
import time
from collections.abc import Collection, Mapping

from flask import Request, Response, current_app

from shared.errors import BadInputError, PublicError
from shared.jobs import GONE, JobView
from shared.queue import JobQueue, JobRecord
from web.presenting import view_of
from web.services import Services

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?:$|[,;\s])", re.IGNORECASE)


def wanted_wait(request: Request, longest: int) -> int:
    """Seconds that the client wants to wait for the result, 0 if it does not.

    Raises:
        BadInputError: `?wait=` is no number of seconds.
    """
    if "wait" in request.args:
        value = request.args["wait"]
        if not value.isascii() or not value.isdigit() or len(value) > 6:
            raise BadInputError("invalid_option", "wait: a whole number of seconds is wanted.")
        return min(int(value), longest)
    match = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match[1]), longest) if match else 0


def wait_for_jobs(
    services: Services,
    job_ids: list[str],
    seconds: int,
    cached: Collection[str] | None = None,
    seen: Mapping[str, str] | None = None,
) -> Response:
    """The jobs, with their results if all end in time (status 200), else as they are then (status 202).

    Args:
        services: of the app.
        job_ids: one job gives an object, several give `{"jobs": [...]}`.
        seconds: at most; 0 does not wait.
        cached: for the answer to an upload: which of them were known from before.
        seen: of those that this request made: the newest entry of their events.

    Raises:
        PublicError: "not_found": the one job is gone. Of several, such a one is `{"id", "state": "gone"}`.
    """
    ended = _wait(services.queue, job_ids, time.monotonic() + seconds, seen or {}) if seconds else {}
    records = _all(services.queue, job_ids, ended)
    pending = any(record is not None and not record.state.is_final for record in records)
    views = [_view(services, job_id, record) for job_id, record in zip(job_ids, records, strict=True)]
    if views == [None]:
        raise PublicError("not_found", "There is no such job, or it has expired.")
    bodies = [_body(job_id, view, cached) for job_id, view in zip(job_ids, views, strict=True)]
    body = bodies[0] if len(bodies) == 1 else f'{{"jobs":[{",".join(bodies)}]}}'
    response = current_app.response_class(body + "\n", mimetype="application/json")
    response.status_code = 202 if pending else 200
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
    if len(views) == 1 and views[0] is not None:
        response.headers["Location"] = views[0].links.self
    return response


def _wait(queue: JobQueue, job_ids: list[str], end: float, seen: Mapping[str, str]) -> dict[str, JobRecord | None]:
    """Wait until all have ended, or for the end; those that have ended, None for one that is gone.

    One after the other: when the first has ended, others often have, too, and then say so at once.
    """
    unknown = [job_id for job_id in job_ids if job_id not in seen]
    newest, ended = dict(seen), {}
    if unknown:
        newest |= queue.events.last(unknown)
        found = zip(unknown, queue.get_many(unknown, positions=False), strict=True)
        ended = {job_id: record for job_id, record in found if record is None or record.state.is_final}
    for job_id in job_ids:
        while job_id not in ended and (left := end - time.monotonic()) > 0:
            change = queue.await_change(job_id, newest[job_id], left)
            if change.ended:
                ended[job_id] = change.record
            elif change.news is None:  # there may be no worker to see to it
                queue.expire_due()
            else:
                newest[job_id] = change.news
    return ended


def _all(queue: JobQueue, job_ids: list[str], ended: dict[str, JobRecord | None]) -> list[JobRecord | None]:
    """The jobs in this order; all but those that have ended are looked up."""
    others = [job_id for job_id in job_ids if job_id not in ended]
    found = ended | (dict(zip(others, queue.get_many(others), strict=True)) if others else {})
    return [found[job_id] for job_id in job_ids]


def _view(services: Services, job_id: str, record: JobRecord | None) -> JobView | None:
    """The job with its result; None if it is gone."""
    try:
        return view_of(services, job_id, record)
    except PublicError as error:
        if error.code != "not_found":
            raise
        return None


def _body(job_id: str, view: JobView | None, cached: Collection[str] | None) -> str:
    """The job as JSON; for an upload also what its answer has when it does not wait.

    Pydantic writes it, which is several times faster than to make dictionaries of a long result and write these.
    """
    if view is None:
        return json.dumps({"id": job_id, "state": GONE})
    more: dict[str, object] = {"url": view.links.view, "status_url": view.links.self}
    if cached is not None:
        more["cached"] = job_id in cached
    return f"{view.model_dump_json(by_alias=True)[:-1]},{json.dumps(more)[1:]}"
