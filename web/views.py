"""The pages: `/` to drop files on, `/view/<id>` to look at a result and to send to others."""

from typing import Final

from apiflask import APIBlueprint
from flask import Response, jsonify, make_response, render_template, request
from pydantic import BaseModel, Field

from shared.errors import CODES, BadInputError, PublicError
from shared.jobs import JobState, JobView, result_key
from shared.media import ENDINGS
from web.comparing import compared
from web.describing import answers
from web.errors import wants_html
from web.ids import checked_id
from web.presenting import find_job
from web.results import ARTIFACTS, serve
from web.services import services
from web.terms import LONGEST

bp = APIBlueprint("views", __name__, tag="Results")

#: jobs that are shown side by side: the page follows each over a connection, and browsers open six to a host
MOST_COMPARED: Final = 4


class CompareQuery(BaseModel):
    """Which jobs."""

    ids: str = Field(description="ids of jobs, apart by commas")


@bp.get("/")
@bp.doc(hide=True)
def index() -> str:
    """The page that files are dropped on."""
    settings = services().settings
    return render_template(
        "index.html",
        max_upload_mb=settings.max_upload_mb,
        max_files=settings.max_files,
        max_video_mb=settings.max_video_mb,
        accept=",".join(ENDINGS),
        webhooks=settings.allow_webhooks,
        longest_wait=LONGEST,
    )


@bp.get("/docs")
@bp.doc(hide=True)
def docs() -> str:
    """The API, to read and to try."""
    return render_template("docs.html")


@bp.get("/compare")
@bp.doc(
    summary="Look at several results side by side",
    description=(
        f"A page for browsers. `ids` has up to {MOST_COMPARED} ids of jobs, apart by commas: for instance of one photo "
        "that several models looked at. Those that are gone are left out."
    ),
    responses=answers(
        ("text/html",), {200: "The page.", 404: "There is none of these jobs.", 422: "No id, or too many."}
    ),
)
@bp.input(CompareQuery, location="query")
def compare(query_data: CompareQuery) -> Response:
    """The page that shows jobs side by side."""
    ids = list(dict.fromkeys(filter(None, query_data.ids.split(","))))
    if not 1 <= len(ids) <= MOST_COMPARED:
        raise BadInputError("invalid_option", f"ids: from 1 to {MOST_COMPARED} ids apart by commas are wanted.")
    jobs = [job for job_id in ids if (job := _found(job_id)) is not None]
    if not jobs:
        raise PublicError("not_found", "There are no such jobs, or they have expired.")
    return make_response(render_template("compare.html", jobs=jobs, table=compared(jobs)))


def _found(job_id: str) -> JobView | None:
    try:
        return find_job(services(), checked_id(job_id))
    except PublicError as error:
        if error.code != "not_found":
            raise
        return None  # one of several may have been deleted


def _shown(job: JobView) -> str:
    """The file that shows best what was found."""
    if job.kind == "image":
        return "annotated.jpg"
    return "annotated.mp4" if job.links.video is not None else "result.json"


@bp.get("/view/<job_id>")
@bp.doc(
    summary="Look at a result",
    description=(
        "A browser gets a page. Other clients get the drawn image or video once the job has finished (its JSON if "
        "nothing was to be drawn), before that status 202 with the job, and if it failed its error."
    ),
    responses=answers(
        ("image/jpeg", "video/mp4", "application/json", "text/html"),
        {
            200: "The page, or the drawn image or video.",
            206: "A part of the video.",
            202: "Not finished yet.",
            304: "As the client has it.",
            404: "There is no such job.",
            410: "It was canceled.",
            422: "It failed: the file.",
            500: "It failed: the service.",
        },
    ),
)
def view(job_id: str) -> Response:
    """The page of a job, or its drawn image."""
    job = find_job(services(), checked_id(job_id))
    if wants_html():
        body = job.model_dump(mode="json", by_alias=True)
        return make_response(render_template("view.html", job=body, absolute_url=request.url))
    if job.state is JobState.FINISHED:
        shown = _shown(job)
        return serve(result_key(job.id, shown), ARTIFACTS[shown], job.id, shown, job.filename)
    response = jsonify(job.model_dump(mode="json", by_alias=True))
    response.status_code = 202
    if job.state is JobState.CANCELED:
        response.status_code = 410
    elif job.error is not None:
        response.status_code = int(CODES.get(job.error.code, CODES["internal"]))
    return response
