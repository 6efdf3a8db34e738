"""News of jobs as server-sent events (the WHATWG HTML standard's `text/event-stream`)."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Final

from shared.errors import PublicError
from shared.jobs import GONE, JobView
from web.presenting import view_of
from web.services import Services

#: seconds after which the states are read again and a comment is sent, so that no proxy thinks the line is dead
KEEP_ALIVE: Final = 12.0
#: seconds after which a client is asked to come back, so that connections do not pile up for ever
LONGEST: Final = 600.0
#: milliseconds before a browser comes back
RETRY_MS: Final = 1500


#: id, state as JSON and whether it is final, for each of some ids
States = Callable[[Services, list[str]], Iterator[tuple[str, str, bool]]]


def follow(services: Services, job_ids: list[str], states: "States | None" = None) -> Iterator[str]:
    """The present state of each job, then each change, until all have ended.

    An event is called `job` and holds the job as `GET /jobs/<id>` gives it. A job that is not there (any more) is
    `{"id", "state": "gone"}`. The last event is called `end`; the client closes then. A client that comes back
    gets the present states first, so it misses nothing and needs no memory on this side.

    Args:
        services: of the app.
        job_ids: whom to follow.
        states: reads the present states; None: those of jobs.
    """
    states = states or _states
    yield f"retry: {RETRY_MS}\n\n"
    seen = services.queue.events.last(job_ids)
    sent: dict[str, str] = {}
    pending = set(job_ids)
    changed = list(job_ids)
    end = time.monotonic() + LONGEST
    next_look = time.monotonic() + KEEP_ALIVE
    while pending and time.monotonic() < end:
        for job_id, data, final in states(services, changed):
            if final:
                pending.discard(job_id)
            if sent.get(job_id) != data:
                sent[job_id] = data
                yield f"event: job\nid: {seen[job_id]}\ndata: {data}\n\n"
        if not pending:
            break
        news = services.queue.events.wait({job_id: seen[job_id] for job_id in pending}, next_look - time.monotonic())
        seen |= news
        changed = list(news)
        if time.monotonic() >= next_look:
            yield ": still here\n\n"
            changed = sorted(pending)
            next_look = time.monotonic() + KEEP_ALIVE
    if not pending:
        yield "event: end\ndata: {}\n\n"


def _states(services: Services, job_ids: list[str]) -> Iterator[tuple[str, str, bool]]:
    if not job_ids:
        return
    for job_id, record in zip(job_ids, services.queue.get_many(job_ids), strict=True):
        try:
            view: JobView = view_of(services, job_id, record)
        except PublicError as error:
            if error.code != "not_found":
                raise
            yield job_id, json.dumps({"id": job_id, "state": GONE}), True
        else:
            yield job_id, view.model_dump_json(by_alias=True), view.state.is_final
