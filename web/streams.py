"""`/streams`: live streams that are looked at until somebody ends them. Only where they are on."""

from datetime import UTC, datetime
from typing import Any, Final

from apiflask import APIBlueprint, APIFlask
from flask import Response, current_app, jsonify, make_response, redirect, render_template, stream_with_context
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared import logs
from shared.errors import BadInputError, PublicError
from shared.jobs import JobOptions, new_job_id, result_prefix
from shared.queue import CancelOutcome
from shared.results import object_string
from shared.stream_urls import parse_stream_url, stream_client
from shared.streams import StreamOptions, StreamRequest, StreamSummary, StreamView
from shared.videos import VideoOptions
from web.access import owner
from web.access_log import note_jobs
from web.choosing import installed_models, wanted_models
from web.describing import answers
from web.errors import wants_html
from web.forms import Form
from web.ids import checked_id
from web.live import follow
from web.services import Services, services
from web.stream_views import find_stream, list_streams, need_own, new_stream, states, waits_for
from web.video_fields import first_wrong

bp = APIBlueprint("streams", __name__, tag="Streams")

OFF: Final = "Streams are off, or this one is another key's."


class StreamForm(Form):
    """The form of a stream."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="rtsp://, rtsps://, http:// or https:// (also HLS); user and password may stand in it")
    model: str = Field("", max_length=100, description="name of a model that finds objects; empty: the default")
    score: float = Field(0.25, ge=0, le=1, description="only detections of a higher score")
    iou: float = Field(0.45, ge=0, le=1, description="boxes of a class that overlap more than this are one")
    max_detections: int = Field(100, ge=1, le=1000, description="at most so many in a frame, the best")
    fps: float = Field(10, gt=0, le=60, description="at most so many frames a second are looked at")
    max_side: int = Field(1280, ge=64, le=4096, description="longest side of the drawn frames in pixels")
    seconds: int | None = Field(None, ge=1, description="it ends by itself after so long; at most MAX_STREAM_SECONDS")
    line: str = Field("", max_length=200, description="shares x1,y1,x2,y2; who crosses it is counted")
    zone: str = Field(
        "", max_length=2000, description="shares x,y of the corners, apart by blanks; who is inside is counted"
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, values: Any) -> Any:  # noqa: ANN401
        return {name: value for name, value in dict(values).items() if value != ""}


class StreamList(BaseModel):
    """The newest streams."""

    streams: list[StreamSummary]
    streamers: int = Field(description="processes that are alive, for a stream each; with none, streams wait")


def register(app: APIFlask) -> None:
    """Add the pages, and the link to them where streams are on."""
    app.register_blueprint(bp)
    app.context_processor(lambda: {"streams_on": services().settings.allow_streams})


@bp.before_request
def need_permission() -> None:
    """Everything here is for where streams are on."""
    if not services().settings.allow_streams:
        raise PublicError("forbidden", "Live streams are off here: ALLOW_STREAMS=true switches them on.")


@bp.post("/streams")
@bp.input(StreamForm, location="form")
@bp.output(StreamView, status_code=202, description="The stream is queued.")
@bp.doc(
    summary="Look at a live stream",
    description=(
        "It runs until it is stopped, or until `seconds` or MAX_STREAM_SECONDS have passed. It may come from public "
        "addresses, and from those that the operator has listed in STREAM_HOSTS."
    ),
    responses={
        403: OFF,
        503: "Redis or storage is away; see `Retry-After`.",
        422: "An option is wrong, there is no such model, or the URL may not be looked at.",
        429: "Too many streams wait.",
    },
)
def create(form_data: StreamForm) -> Response:
    """Put a stream into the queue."""
    form, parts = form_data, services()
    stream = _request(form, _checked_url(parts, form.url), _model(parts, form.model))
    parts.streams.submit(stream, form.url.strip())
    note_jobs([stream.id])
    view = new_stream(parts, stream.id)
    if wants_html():
        return redirect(view.links.self, 303)  # type: ignore[return-value]
    response = jsonify(view.model_dump(mode="json"))
    response.status_code = 202
    response.headers["Location"] = view.links.self
    return response


def _checked_url(parts: Services, text: str) -> str:
    """What may be shown of a URL. Raises `BadInputError("url_refused")`; where it leads to is looked at again later."""
    url = parse_stream_url(text)
    try:
        stream_client(parts.settings.stream_hosts).addresses(url.host, url.port)
    except BadInputError as error:
        if error.code == "url_refused":
            raise BadInputError(
                "url_refused", "The URL does not lead to a public address, and STREAM_HOSTS does not list it."
            ) from None
    return url.public


def _model(parts: Services, name: str) -> str:
    entries = wanted_models(parts, name)
    if len(entries) != 1:
        raise BadInputError("invalid_option", "model: one model looks at a stream.")
    if entries[0].task == "classification":
        raise BadInputError("invalid_option", f"model: {entries[0].name} does not find objects.")
    return entries[0].name


def _request(form: StreamForm, url: str, model: str) -> StreamRequest:
    try:
        counted = VideoOptions.model_validate(form.model_dump(include={"line", "zone"}))
        stream = StreamOptions(
            fps=form.fps, max_side=form.max_side, seconds=form.seconds, line=counted.line, zone=counted.zone
        )
    except ValidationError as error:
        raise first_wrong(error, "stream") from None
    return StreamRequest(
        id=new_job_id(),
        url=url,
        model=model,
        options=JobOptions(score=form.score, iou=form.iou, max_detections=form.max_detections),
        stream=stream,
        created_at=datetime.now(UTC),
        owner=owner(),
        request_id=logs.request_id.get(),
    )


@bp.get("/streams")
@bp.output(StreamList)
@bp.doc(summary="List streams", description="The newest ones. A browser gets a page.", responses={403: OFF})
def list_all() -> StreamList | Response:
    """The newest streams, or the page that has them and a form."""
    parts = services()
    found = StreamList(streams=list_streams(parts), streamers=len(parts.streamers.workers()))
    if not wants_html():
        return found
    installed = installed_models(parts)
    catalog = parts.catalog
    models = [
        entry
        for entry in catalog.models.values()
        if entry.task != "classification" and (installed is None or entry.name in installed)
    ]
    return make_response(
        render_template(
            "streams.html", found=found, models=models, default=catalog.in_use(installed), words=object_string
        )
    )


@bp.get("/streams/<stream_id>")
@bp.output(StreamView)
@bp.doc(
    summary="State of a stream, and what was seen",
    description="A browser gets a page.",
    responses={403: OFF, 404: "There is no such stream."},
)
def get_stream(stream_id: str) -> StreamView | Response:
    """The stream, or its page."""
    view = find_stream(services(), checked_id(stream_id))
    if not wants_html():
        return view
    return make_response(
        render_template(
            "stream.html", stream=view.model_dump(mode="json"), view=view, waiting=waits_for(services(), view)
        )
    )


@bp.get("/streams/<stream_id>/events")
@bp.doc(
    summary="News of a stream",
    description=(
        "Server-sent events `job`, about one a second, with the stream as data (without `segments` and `events` while "
        "it runs), until `end`."
    ),
    responses=answers(("text/event-stream",), {200: "The events.", 403: OFF, 404: "There is no such stream."}),
)
def stream_events(stream_id: str) -> Response:
    """News of one stream."""
    parts = services()
    find_stream(parts, checked_id(stream_id))
    return current_app.response_class(
        stream_with_context(follow(parts, [stream_id], states)),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@bp.post("/streams/<stream_id>/stop")
@bp.output(StreamView, status_code=202)
@bp.doc(
    summary="End a stream",
    description="A running one writes its summary and is then `finished`; one that waits is `canceled`.",
    responses={403: OFF, 404: "There is no such stream.", 409: "It has ended already."},
)
def stop(stream_id: str) -> StreamView | Response:
    """End a stream in order."""
    parts = services()
    view = find_stream(parts, checked_id(stream_id))
    outcome = parts.streams.stop(stream_id)
    if wants_html():
        return redirect(view.links.self, 303)  # type: ignore[return-value]
    if outcome is CancelOutcome.TOO_LATE:
        raise PublicError("conflict", "The stream has ended already.")
    return find_stream(parts, stream_id)


@bp.delete("/streams/<stream_id>")
@bp.output({}, status_code=204)
@bp.doc(
    summary="Delete a stream",
    description="Ends it at once, and deletes its videos and documents.",
    responses={403: OFF, 404: "There is no such stream."},
)
def delete(stream_id: str) -> tuple[str, int]:
    """Delete all there is of a stream."""
    parts = services()
    record = parts.streams.get(checked_id(stream_id))
    if record is not None:
        need_own(record)
    else:
        find_stream(parts, stream_id)
    parts.streams.forget(stream_id)
    parts.storage.delete_prefix(result_prefix(stream_id))
    return "", 204
