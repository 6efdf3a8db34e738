"""An id for each request, and a line in the log for those that change something or fail."""

import logging
import time
from typing import Any, Final

from apiflask import APIFlask
from flask import Response, g, request

from shared import logs

log = logging.getLogger(__name__)

HEADER: Final = "X-Request-Id"
#: asked again and again by machines, also while they are to say no
_PROBES: Final = frozenset({"operations.healthz", "operations.readyz"})
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def register(app: APIFlask) -> None:
    """Give ids and write lines; to be registered before everything that may refuse a request."""
    app.before_request(_begin)
    app.after_request(_end)
    app.context_processor(lambda: {"request_id": logs.request_id.get()})


def note_jobs(job_ids: list[str]) -> None:
    """Have the line of this request name the jobs that it brought."""
    g.noted_jobs = job_ids


def note_error(code: str) -> None:
    """Have the line of this request name the error that answers it."""
    g.noted_error = code


def _begin() -> None:
    g.begun = time.monotonic()
    # never reset: what is written while the answer is sent is about this request, too, and the next begins anew
    logs.job_id.set(None)
    logs.request_id.set(logs.sane_request_id(request.headers.get(HEADER)) or logs.new_request_id())


def _end(response: Response) -> Response:
    request_id = logs.request_id.get()
    if request_id is not None:
        response.headers[HEADER] = request_id
    if request.method not in _READING or (response.status_code >= 400 and request.endpoint not in _PROBES):
        _write(response)
    return response


def _write(response: Response) -> None:
    took = (time.monotonic() - g.get("begun", time.monotonic())) * 1000
    jobs = g.get("noted_jobs", [])
    error = g.get("noted_error")
    fields: dict[str, Any] = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "ms": round(took, 1),
        "bytes": request.content_length,
        "client": request.remote_addr,
        "key": g.get("owner"),
        "error": error,
        "jobs": jobs or None,
    }
    named = ", ".join(filter(None, (error, *jobs)))
    log.info(
        "%s %s: %d in %.0f ms%s",
        request.method,
        request.path,
        response.status_code,
        took,
        f" ({named})" if named else "",
        extra={logs.FIELDS: {name: value for name, value in fields.items() if value is not None}},
    )
