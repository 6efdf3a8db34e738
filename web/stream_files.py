"""The pictures of a live stream: the newest frame, the frames as they come, and the drawn video that is kept."""

import time
from collections.abc import Iterator
from typing import Final

from apiflask import APIBlueprint
from flask import Response, current_app, request, stream_with_context

from shared.errors import PublicError
from shared.jobs import result_key
from shared.storage import MissingObjectError
from shared.streams import LATEST_FRAME, segment_key, segment_name
from web.describing import answers
from web.ids import checked_id
from web.results import serve
from web.services import Services, services
from web.stream_views import need_own
from web.streams import OFF, need_permission

bp = APIBlueprint("stream_files", __name__, tag="Streams")
bp.before_request(need_permission)

#: seconds after which a client is asked to come back, so that connections do not pile up for ever
LONGEST: Final = 600.0
#: seconds between two looks for a new frame, and between two looks whether the stream has ended
_LOOK: Final = 0.1
_STATE_LOOK: Final = 2.0
_BOUNDARY: Final = "frame"


@bp.get("/streams/<stream_id>/latest.jpg")
@bp.doc(
    summary="The newest drawn frame",
    responses=answers(
        ("image/jpeg",), {200: "The frame.", 304: "As the client has it.", 403: OFF, 404: "There is none (yet)."}
    ),
)
def latest(stream_id: str) -> Response:
    """The newest frame."""
    parts = services()
    _check(parts, stream_id)
    parts.streams.watch_frame(stream_id)
    return serve(result_key(stream_id, LATEST_FRAME), "image/jpeg", stream_id, "latest.jpg", "stream")


@bp.get("/streams/<stream_id>/live.mjpg")
@bp.doc(
    summary="The drawn frames as they come",
    description=f"Up to 4 a second, as MJPEG, which an <img> shows. Ends with the stream, or after {LONGEST:.0f} s.",
    responses=answers(("multipart/x-mixed-replace",), {200: "The frames.", 403: OFF, 404: "There is no such stream."}),
)
def live(stream_id: str) -> Response:
    """The frames."""
    parts = services()
    if not _check(parts, stream_id):
        raise PublicError("not_found", "There is no such stream, or it has expired.")
    if request.method == "HEAD":
        frames: Iterator[bytes] = iter(())
    else:
        frames = stream_with_context(_frames(parts, stream_id))
    return current_app.response_class(
        frames,
        mimetype=f"multipart/x-mixed-replace; boundary={_BOUNDARY}",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _frames(parts: Services, stream_id: str) -> Iterator[bytes]:
    seen: str | None = None
    end, next_look = time.monotonic() + LONGEST, float("-inf")
    yield f"--{_BOUNDARY}\r\n".encode()
    while (now := time.monotonic()) < end:
        number = parts.streams.watch_frame(stream_id)
        if number != seen:
            seen = number
            try:
                data = parts.storage.get(result_key(stream_id, LATEST_FRAME))
            except MissingObjectError:
                data = b""
            if data:
                # the boundary behind, not before: a browser shows a frame when it sees where it ends
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n".encode()
                yield head + data + f"\r\n--{_BOUNDARY}\r\n".encode()
        if now >= next_look:
            next_look = now + _STATE_LOOK
            record = parts.streams.get(stream_id)
            if record is None or record.state.is_final:
                return
        time.sleep(_LOOK)


@bp.get("/streams/<stream_id>/segments/<int:number>.mp4")
@bp.doc(
    summary="A piece of drawn video",
    description="`number` is that of `segments`. Old pieces go: STREAM_KEEP_SECONDS says when.",
    responses=answers(
        ("video/mp4",), {200: "The video.", 304: "As the client has it.", 403: OFF, 404: "There is none."}
    ),
)
def segment(stream_id: str, number: int) -> Response:
    """A piece of video."""
    _check(services(), stream_id)
    if number > 10**8:
        raise PublicError("not_found", "There is no such piece.")
    return serve(segment_key(stream_id, number), "video/mp4", stream_id, segment_name(number), "stream")


def _check(parts: Services, stream_id: str) -> bool:
    """Whether Redis knows the stream. Raises `PublicError("forbidden")` if it is another key's."""
    record = parts.streams.get(checked_id(stream_id))
    if record is not None:
        need_own(record)
    return record is not None
