"""`POST /jobs/<id>/again`: the same file once more, with other options."""

from typing import NamedTuple

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import ConfigDict, Field

from shared.errors import PublicError
from shared.jobs import InputFile, JobOptions, input_key
from shared.media import ENDINGS
from shared.videos import VideoOptions, VideoResult
from web.access import need_own_job
from web.choosing import MOST_MODELS, wanted_models
from web.describing import answers
from web.ids import checked_id
from web.incoming import IncomingFile
from web.presenting import stored_result
from web.services import Services, services
from web.submitting import DONE, Accepted, Options, answer, submit
from web.terms import TermFields, wanted_terms
from web.video_fields import VideoFields, video_options

bp = APIBlueprint("again", __name__, tag="Jobs")


class AgainForm(JobOptions, TermFields, VideoFields):
    """The form: what is to be different. All else is as it was."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        "", max_length=500, description=f"name of a model, or up to {MOST_MODELS} apart by commas; empty: as before"
    )


class _Before(NamedTuple):
    """What the earlier job was given."""

    input: InputFile
    model: str
    options: JobOptions
    video: VideoOptions | None


@bp.post("/jobs/<job_id>/again")
@bp.input(AgainForm, location="form")
@bp.output(Accepted, status_code=202, description="Queued as a job of its own.")
@bp.doc(
    summary="Look at the same file again",
    description=(
        "Makes a new job of the file of an earlier one, which stays as it is. Options that are left out are as they "
        "were; an empty `line` or `zone` takes it away. The answer is that of `/upload`."
    ),
    responses=answers(
        DONE,
        {
            200: "Finished: known from before, or within the time that was waited.",
            403: "The job belongs to another key.",
            404: "There is no such job.",
            410: "The uploaded file is no longer there.",
            422: "An option is wrong, or there is no such model.",
            429: "The queue is full; see `Retry-After`.",
        },
    ),
)
def again(job_id: str, form_data: AgainForm) -> Response:
    """Put the file of a job into the queue once more."""
    job_id = checked_id(job_id)
    need_own_job(job_id)
    form, parts = form_data, services()
    before = _before(parts, job_id)
    if parts.storage.stat(before.input.key) is None:
        raise PublicError("input_gone", "The uploaded file is no longer there.")
    given = form.model_fields_set & JobOptions.model_fields.keys()
    entries = wanted_models(parts, form.model or before.model, given)
    options = Options(
        before.options.model_copy(update={name: getattr(form, name) for name in given}),
        video_options(form, before.video or VideoOptions()),
    )
    file = IncomingFile.stored(before.input, is_video=before.video is not None)
    made = submit(parts, [file], entries, options, wanted_terms(request, form, len(entries), parts.settings))
    return answer(parts, made, 1)


def _before(parts: Services, job_id: str) -> _Before:
    """From Redis, or from the result when Redis has forgotten the job. Raises `PublicError("not_found")`."""
    record = parts.queue.get(job_id)
    if record is not None:
        asked = record.request
        return _Before(asked.input, asked.model, asked.options, asked.video)
    result = stored_result(parts, job_id)
    if result is None:
        raise PublicError("not_found", "There is no such job, or it has expired.")
    source = result.source
    return _Before(
        InputFile(
            key=input_key(job_id, ENDINGS[source.content_type]),
            filename=source.filename,
            content_type=source.content_type,
            bytes=source.bytes,
            sha256=source.sha256,
        ),
        result.model.name,
        JobOptions.model_validate(result.options),
        result.video_options if isinstance(result, VideoResult) else None,
    )
