"""What only videos have: a live picture while they run, and what is in their frames, page by page."""

import json
from typing import Final

from apiflask import APIBlueprint
from flask import Response, current_app
from pydantic import BaseModel, Field

from shared.errors import PublicError
from shared.jobs import LIVE_FRAME, parts_key, result_key
from shared.storage import MissingObjectError
from shared.videos import FrameDetections
from web.describing import answers
from web.frame_lines import FrameLines
from web.ids import checked_id
from web.security import USER_FILE_POLICY
from web.services import services

bp = APIBlueprint("videos", __name__, tag="Results")

#: frames on a page
MOST_FRAMES: Final = 1000


class FramesQuery(BaseModel):
    """Which frames."""

    start: int = Field(
        0, ge=0, le=10**9, description="number of a frame in the original; the page begins there or after"
    )
    limit: int = Field(100, ge=1, le=MOST_FRAMES, description="frames on the page; fewer if there is very much in them")


class FramesPage(BaseModel):
    """What is in some frames."""

    frames: list[FrameDetections]
    next: int | None = Field(description="`start` of the next page; null on the last")


@bp.get("/jobs/<job_id>/preview.jpg")
@bp.doc(
    summary="A frame of a running video",
    description="As it was drawn of late; `progress.live` of the job says when there is another.",
    responses=answers(("image/jpeg",), {200: "The frame.", 404: "There is none (any more)."}),
)
def live_frame(job_id: str) -> Response:
    """The newest frame of a video that is worked on."""
    try:
        data = services().storage.get(parts_key(checked_id(job_id), LIVE_FRAME))
    except MissingObjectError:
        raise PublicError("not_found", "There is no such picture now.") from None
    response = current_app.response_class(data, mimetype="image/jpeg")
    response.headers["Content-Security-Policy"] = USER_FILE_POLICY
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/jobs/<job_id>/frames")
@bp.input(FramesQuery, location="query")
@bp.output(FramesPage)
@bp.doc(
    summary="What is in the frames of a video, page by page",
    description="All at once is `/results/<id>/frames.jsonl`.",
    responses={404: "There is no such video, or it is not done."},
)
def frames(job_id: str, query_data: FramesQuery) -> Response:
    """A page of frames."""
    stat = services().storage.stat(result_key(checked_id(job_id), "frames.jsonl"))
    if stat is None:
        raise PublicError("not_found", "There is no such video, or it is not done.")
    try:
        lines, following = FrameLines(services().storage, stat).page(query_data.start, query_data.limit)
    except MissingObjectError:
        raise PublicError("not_found", "There is no such video any more.") from None
    # as they lie there: nothing is to be gained from reading and writing each
    body = b'{"frames":[' + b",".join(lines) + b'],"next":' + json.dumps(following).encode() + b"}"
    return current_app.response_class(body, mimetype="application/json")
