"""`POST /upload`: files in, job ids out."""

from typing import Annotated, cast

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from flask import Response, request
from pydantic import ConfigDict, Field, field_validator
from werkzeug.datastructures import FileStorage

from shared.errors import BadInputError
from shared.jobs import JobOptions
from web.choosing import MOST_MODELS, wanted_models
from web.describing import answers
from web.fetching import fetch
from web.incoming import IncomingFile
from web.services import services
from web.submitting import DONE, Accepted, Options, answer, submit
from web.terms import TermFields, wanted_terms
from web.video_fields import VideoFields, video_options

bp = APIBlueprint("uploads", __name__, tag="Jobs")


class UploadForm(JobOptions, TermFields, VideoFields):
    """The multipart form of an upload."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    file: Annotated[list[UploadFile], Field(description="one image or video, or many")] = Field(default_factory=list)
    url: str = Field("", description="where to fetch a file from, if the server allows it (`ALLOW_URL_INPUT`)")
    model: str = Field(
        "",
        max_length=500,
        description=(
            "name of a model, see `GET /models`; empty: the default. `auto` picks one; several apart by commas "
            f"(up to {MOST_MODELS}) are a job each"
        ),
    )

    @field_validator("file", mode="before")
    @classmethod
    def _no_file(cls, value: object) -> object:
        return value if isinstance(value, list) else []  # a missing part, or a text field of that name


@bp.post("/upload")
@bp.input(UploadForm, location="form_and_files")
@bp.output(Accepted, status_code=202, description="The files are stored and queued.")
@bp.doc(
    summary="Upload images and videos",
    description=(
        'One file gives an object, several give `{"jobs": [...]}`; all are taken or none. So do several models, and '
        "`/compare?ids=a,b` is a page that shows such jobs side by side. With `Prefer: wait=N` (or `?wait=N`) the "
        "answer is the finished job, with status 200, if that takes no more than N seconds."
    ),
    responses=answers(
        DONE,
        {
            200: "Finished: known from before, or within the time that was waited.",
            400: "No file.",
            413: "Too large, or too many files.",
            415: "Not an image or video of a kind that is taken.",
            422: "An option is wrong, or there is no such model.",
            403: "The page of another site sent it.",
            408: "The body came too slowly.",
            429: "The queue is full, or these are too many uploads; see `Retry-After`.",
            503: "Redis or storage is away; see `Retry-After`.",
            507: "The storage is full.",
        },
    ),
)
def upload(form_and_files_data: UploadForm) -> Response:
    """Take files, put a job for each into the queue, answer at once."""
    form, parts = form_and_files_data, services()
    options = JobOptions(**{name: getattr(form, name) for name in JobOptions.model_fields})
    entries = wanted_models(parts, form.model, form.model_fields_set & JobOptions.model_fields.keys())
    files = [cast(IncomingFile, storage.stream) for storage in form.file if _is_file(storage)]
    if form.url:
        files.append(fetch(form.url))
    if not files:
        raise BadInputError("no_file", "There is no file in the form field 'file'.")
    terms = wanted_terms(request, form, len(files) * len(entries), parts.settings)
    made = submit(parts, files, entries, Options(options, video_options(form)), terms)
    return answer(parts, made, len(files))


def _is_file(storage: FileStorage) -> bool:
    return isinstance(storage.stream, IncomingFile)
