"""Live streams as clients see them: what Redis knows of the living, what storage knows of all."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, TypeVar

from flask import url_for
from pydantic import BaseModel, ValidationError

from shared.colours import colour_of, css
from shared.errors import PublicError
from shared.jobs import GONE, RESULT_DOCUMENT, JobOptions, JobState, result_key
from shared.queue.streams import StreamRecord
from shared.results import plural
from shared.storage import MissingObjectError
from shared.streams import (
    STATE_DOCUMENT,
    StreamLinks,
    StreamProgress,
    StreamResult,
    StreamState,
    StreamSummary,
    StreamView,
)
from web.access import is_operator, keys_are_on, owner
from web.services import Services

Document = TypeVar("Document", bound=BaseModel)

#: streams that are listed
MOST_LISTED = 100


def list_streams(services: Services) -> list[StreamSummary]:
    """The newest streams of this request's key."""
    records = services.streams.get_many(services.streams.ids(MOST_LISTED))
    return [summary_of(record) for record in records if record is not None and _is_own(record)]


def find_stream(services: Services, stream_id: str) -> StreamView:
    """A stream with what was seen.

    Raises:
        PublicError: "not_found"; "forbidden": it is another key's.
    """
    record = services.streams.get(stream_id)
    if record is not None:
        need_own(record)
    result = _stored(services, stream_id, RESULT_DOCUMENT, StreamResult)
    if record is None:
        if result is None:
            raise PublicError("not_found", "There is no such stream, or it has expired.")
        return _of_result(services, result)
    seen = result if record.state is JobState.FINISHED else None
    state = seen or _stored(services, stream_id, STATE_DOCUMENT, StreamState)
    fields = _fields(record)
    if state is None:
        return StreamView(**fields)
    fields |= _names(state, record.progress)
    return StreamView(**fields, result=seen, segments=state.segments, events=state.events)


def new_stream(services: Services, stream_id: str) -> StreamView:
    """A stream that was queued just now: storage has nothing of it yet. Raises `PublicError("not_found")`."""
    record = services.streams.get(stream_id)
    if record is None:
        raise PublicError("not_found", "The stream was deleted.")
    return StreamView(**_fields(record))


def summary_of(record: StreamRecord) -> StreamSummary:
    """A stream as lists show it."""
    return StreamSummary(**_fields(record))


def waits_for(services: Services, view: StreamView) -> str:
    """Why a stream that waits does not run yet; empty for all others."""
    if view.state is not JobState.QUEUED:
        return ""
    alive = len(services.streamers.workers())
    if not alive:
        return "No streamer is alive: it waits until there is one."
    known = services.streams.get_many(services.streams.ids(MOST_LISTED))
    running = sum(record is not None and record.state is JobState.RUNNING for record in known)
    if (view.position or 1) <= alive - running:
        return "A streamer is about to take it."
    return f"All {alive} streamers are busy." if alive > 1 else "The only streamer is busy."


def states(services: Services, stream_ids: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Id, state as JSON and whether it is final, for `web.live.follow`; the whole stream only when it has ended."""
    for stream_id, record in zip(stream_ids, services.streams.get_many(stream_ids), strict=True):
        if record is None:
            yield stream_id, f'{{"id":"{stream_id}","state":"{GONE}"}}', True
        elif record.state.is_final:
            yield stream_id, find_stream(services, stream_id).model_dump_json(), True
        else:
            yield stream_id, summary_of(record).model_dump_json(), False


def need_own(record: StreamRecord) -> None:
    """Raises `PublicError("forbidden")` if a stream is not of this request's key."""
    if not _is_own(record):
        raise PublicError("forbidden", "This stream belongs to another key.")


def _is_own(record: StreamRecord) -> bool:
    return not keys_are_on() or record.request.owner == owner() or is_operator()


def _stored(services: Services, stream_id: str, name: str, kind: type[Document]) -> Document | None:
    try:
        return kind.model_validate_json(services.storage.get(result_key(stream_id, name)))
    except (MissingObjectError, ValidationError):
        return None


def _of_result(services: Services, result: StreamResult) -> StreamView:
    return StreamView(
        id=result.id,
        state=JobState.FINISHED,
        url=result.url,
        model=result.model.name if result.model is not None else "",
        options=JobOptions.model_validate(result.options),
        stream=result.stream_options,
        created_at=result.created_at,
        started_at=result.started_at,
        finished_at=result.finished_at,
        expires_at=result.finished_at + timedelta(seconds=services.settings.result_ttl),
        links=_links(result.id),
        segments=result.segments,
        events=result.events,
        result=result,
        **_names(result),
    )


def _fields(record: StreamRecord) -> dict[str, object]:
    request = record.request
    return {
        **record.model_dump(exclude={"request", "progress", "error"}),
        "progress": record.progress,
        "error": record.error,
        "id": request.id,
        "url": request.url,
        "model": request.model,
        "options": request.options,
        "stream": request.stream,
        "created_at": request.created_at,
        "links": _links(request.id),
        **_names(progress=record.progress),
    }


def _links(stream_id: str) -> StreamLinks:
    return StreamLinks(
        self=url_for("streams.get_stream", stream_id=stream_id),
        events=url_for("streams.stream_events", stream_id=stream_id),
        latest=url_for("stream_files.latest", stream_id=stream_id),
        live=url_for("stream_files.live", stream_id=stream_id),
    )


def _names(
    seen: StreamState | StreamResult | None = None, progress: StreamProgress | None = None
) -> dict[str, dict[str, Any]]:
    """The colours and nouns of all that was seen before, and is to be seen or was counted now."""
    labels: list[str] = []
    if seen is not None:
        labels += [*seen.totals.counts, *(seen.timeline.most if seen.timeline is not None else ())]
    if progress is not None:
        labels += [*progress.now, *progress.totals.counts]
    return {
        "colours": {label: css(colour_of(label)) for label in labels},
        "nouns": {label: (plural(label, 1), plural(label, 2)) for label in labels},
    }
