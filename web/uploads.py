"""`POST /upload`: files in, job ids out."""

from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, cast

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from flask import Response, jsonify, redirect, request, url_for
from pydantic import BaseModel, ConfigDict, Field, field_validator
from werkzeug.datastructures import FileStorage

from shared import logs
from shared.entries import ModelEntry
from shared.errors import BadInputError
from shared.jobs import JobOptions, JobRequest, JobState, cache_key, result_key
from shared.videos import VideoOptions
from web.access import owner
from web.access_log import note_jobs
from web.choosing import MOST_MODELS, arithmetics_of, wanted_models
from web.errors import wants_html
from web.fetching import fetch
from web.incoming import IncomingFile
from web.limits import client
from web.services import Services, services
from web.terms import TermFields, Terms, wanted_terms
from web.video_fields import VideoFields, video_options
from web.waiting import wait_for_jobs, wanted_wait

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


class Accepted(BaseModel):
    """A file that was taken."""

    id: str
    model: str = Field(description="the one that looks at it")
    url: str = Field(description="the page to look at, and to send to others")
    status_url: str
    state: JobState
    position: int | None = Field(None, description="in the queue, 1 is next")
    cached: bool = Field(False, description="the same file was looked at before; this is that job")


class AcceptedMany(BaseModel):
    """The answer when one request makes several jobs: file by file, for each in the order of the models."""

    jobs: list[Accepted]


@bp.before_request
def refuse_early() -> None:
    """Say that the queue is full or away before the body is read."""
    services().queue.check_room(1, client())


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
    responses={
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
    accepted = _submit(parts, files, entries, _Options(options, video_options(form)), terms)
    ids = [item.id for item in accepted]
    note_jobs(ids)
    wait = wanted_wait(request, parts.settings.max_wait)
    done = all(item.state is JobState.FINISHED for item in accepted)
    if (wait or done) and not wants_html():
        return wait_for_jobs(parts, ids, wait, {item.id for item in accepted if item.cached})
    if wants_html():  # the form of the page, where scripts are off
        return redirect(_page_of(accepted, len(files)), 303)  # type: ignore[return-value]
    body = accepted[0] if len(accepted) == 1 else AcceptedMany(jobs=accepted)
    response = jsonify(body.model_dump(mode="json"))
    response.status_code = 202
    if len(accepted) == 1:
        response.headers["Location"] = accepted[0].status_url
    return response


def _is_file(storage: FileStorage) -> bool:
    return isinstance(storage.stream, IncomingFile)


def _page_of(accepted: list[Accepted], files: int) -> str:
    if len(accepted) == 1:
        return accepted[0].url
    if files == 1:
        return url_for("views.compare", ids=",".join(item.id for item in accepted))
    return url_for("views.index")


class _Options(NamedTuple):
    """What is wanted of the models, and of videos."""

    job: JobOptions
    video: VideoOptions

    def for_video(self, file: IncomingFile) -> VideoOptions | None:
        """Those for videos, if it is one."""
        return self.video if file.is_video else None


def _submit(
    parts: Services, files: list[IncomingFile], entries: list[ModelEntry], options: _Options, terms: Terms
) -> list[Accepted]:
    """A job for each file and model, or the one that was known; file by file."""
    for entry in entries:
        if entry.task == "classification" and any(file.is_video for file in files):
            raise BadInputError("invalid_option", f"model: {entry.name} looks at pictures only, not at videos.")
    wanted = [(file, entry, _cache_key(parts, file, entry, options)) for file in files for entry in entries]
    known = [_known(parts, entry, key) for _, entry, key in wanted]
    if len(entries) > 1 and (new := known.count(None)):
        parts.queue.check_room(new, client())  # before anything is copied
    requests: list[JobRequest] = []
    inputs: list[IncomingFile] = []
    accepted: list[Accepted] = []
    for (file, entry, key), job_id in zip(wanted, known, strict=True):
        if job_id is not None:
            accepted.append(_accepted(job_id, entry, JobState.FINISHED, cached=True))
            continue
        # the file as it came is the input of its first job, and each other has a copy
        taken = file.copy() if file in inputs else file
        inputs.append(taken)
        requests.append(_request(taken, entry, options, key).model_copy(update=terms._asdict()))
        accepted.append(_accepted(taken.job_id, entry, JobState.QUEUED))
    positions = iter(parts.queue.submit(requests, client()) if requests else [])
    for taken in inputs:
        taken.claim()
    if terms.webhook is not None:
        for item in accepted:
            if item.cached:  # the others' came with their jobs
                parts.queue.hooks.add(item.id, terms.webhook)
    return [item if item.cached else item.model_copy(update={"position": next(positions)}) for item in accepted]


def _cache_key(parts: Services, file: IncomingFile, entry: ModelEntry, options: _Options) -> str:
    fingerprint = entry.fingerprint(parts.settings.weights_dir)
    return cache_key(file.complete.sha256, fingerprint, entry.task, options.job, owner(), options.for_video(file))


def _known(parts: Services, entry: ModelEntry, key: str) -> str | None:
    job_id = parts.queue.find_cached(key, arithmetics_of(parts, entry))
    if job_id is None:
        return None
    record = parts.queue.get(job_id)
    if record is not None and record.state is not JobState.FINISHED:  # canceled, though its result was written
        return None
    return job_id if parts.storage.stat(result_key(job_id, "result.json")) is not None else None


def _request(file: IncomingFile, entry: ModelEntry, options: _Options, key: str) -> JobRequest:
    return JobRequest(
        id=file.job_id,
        input=file.complete,
        model=entry.name,
        options=options.job,
        video=options.for_video(file),
        cache_key=key,
        created_at=datetime.now(UTC),
        owner=owner(),
        request_id=logs.request_id.get(),
    )


def _accepted(job_id: str, entry: ModelEntry, state: JobState, **more: Any) -> Accepted:  # noqa: ANN401
    return Accepted(
        id=job_id,
        model=entry.name,
        url=url_for("views.view", job_id=job_id),
        status_url=url_for("jobs.get_job", job_id=job_id),
        state=state,
        **more,
    )
