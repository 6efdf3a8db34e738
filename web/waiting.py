"""`Prefer: wait=N` (RFC 7240): the synchronous mode."""

import re
import time

from flask import Request, Response, jsonify

from shared.errors import BadInputError
from shared.jobs import JobView
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


def wait_for_jobs(services: Services, job_ids: list[str], seconds: int) -> Response:
    """The jobs, with their results if all end in time (status 200), else as they are then (status 202)."""
    end = time.monotonic() + seconds
    seen = services.queue.events.last(job_ids)
    while True:
        records = services.queue.get_many(job_ids)
        pending = [
            job_id
            for job_id, record in zip(job_ids, records, strict=True)
            if record is not None and not record.state.is_final
        ]
        left = end - time.monotonic()
        if not pending or left <= 0:
            break
        seen |= services.queue.events.wait({job_id: seen[job_id] for job_id in pending}, left)
    views = [view_of(services, job_id, record) for job_id, record in zip(job_ids, records, strict=True)]
    response = jsonify(_body(views))
    response.status_code = 200 if all(view.state.is_final for view in views) else 202
    response.headers["Preference-Applied"] = f"wait={seconds}"
    if len(views) == 1:
        response.headers["Location"] = views[0].links.self
    return response


def _body(views: list[JobView]) -> dict[str, object]:
    """A view each; `url` and `status_url` as in the answer of an upload that does not wait."""
    bodies = [
        {**view.model_dump(mode="json", by_alias=True), "url": view.links.view, "status_url": view.links.self}
        for view in views
    ]
    return bodies[0] if len(bodies) == 1 else {"jobs": bodies}
