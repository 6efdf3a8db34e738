"""Files become jobs: what `POST /upload` and `POST /jobs/<id>/again` have in common."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from flask import Response, jsonify, redirect, request, url_for
from pydantic import BaseModel, Field

from shared import logs
from shared.entries import ModelEntry
from shared.errors import BadInputError
from shared.jobs import JobOptions, JobRequest, JobState, cache_key, result_key
from shared.videos import VideoOptions
from web.access import owner
from web.access_log import note_jobs
from web.choosing import arithmetics_of
from web.errors import wants_html
from web.incoming import IncomingFile
from web.limits import client
from web.services import Services, services
from web.terms import Terms
from web.waiting import wait_for_jobs, wanted_wait


class Accepted(BaseModel):
    """A file that was taken."""

    id: str
    model: str = Field(description="the one that looks at it")
    url: str = Field(description="the page to look at, and to send to others")
    status_url: str
    state: JobState
    position: int | None = Field(None, description="in the queue, 1 is next")
    cached: bool = Field(False, description="the same file was looked at before; this is that job")


#: the answer with results, in the OpenAPI document: of one job
DONE: Final = {
    "application/json": {
        "schema": {"type": "object"},
        "example": {
            "id": "64ae0b1f9cd24b1c8a6f5e7d3c2b1a09",
            "kind": "image",
            "state": "finished",
            "result": {"text": "This picture shows 1 dog.", "counts": {"dog": 1}},
            "url": "/view/64ae0b1f9cd24b1c8a6f5e7d3c2b1a09",
            "status_url": "/jobs/64ae0b1f9cd24b1c8a6f5e7d3c2b1a09",
            "cached": False,
        },
    }
}


class AcceptedMany(BaseModel):
    """The answer when one request makes several jobs: file by file, for each in the order of the models."""

    jobs: list[Accepted]


class Options(NamedTuple):
    """What is wanted of the models, and of videos."""

    job: JobOptions
    video: VideoOptions

    def for_video(self, file: IncomingFile) -> VideoOptions | None:
        """Those for videos, if it is one."""
        return self.video if file.is_video else None


def refuse_early() -> None:
    """Say that the queue is full or away before the body is read."""
    services().queue.check_room(1, client())


def submit(
    parts: Services, files: list[IncomingFile], entries: list[ModelEntry], options: Options, terms: Terms
) -> list[Accepted]:
    """A job for each file and model, or the one that was known; file by file.

    Raises:
        BadInputError: "invalid_option": a model that does not look at videos.
        PublicError: "queue_full", "input_gone", "storage_down", "storage_full".
    """
    for entry in entries:
        if entry.task == "classification" and any(file.is_video for file in files):
            raise BadInputError("invalid_option", f"model: {entry.name} looks at pictures only, not at videos.")
    wanted = [(file, entry, _cache_key(parts, file, entry, options)) for file in files for entry in entries]
    known = [_known(parts, entry, key) for _, entry, key in wanted]
    if (len(entries) > 1 or any(file.is_taken for file in files)) and (new := known.count(None)):
        parts.queue.check_room(new, client())  # before anything is copied
    requests: list[JobRequest] = []
    inputs: list[IncomingFile] = []
    accepted: list[Accepted] = []
    for (file, entry, key), job_id in zip(wanted, known, strict=True):
        if job_id is not None:
            accepted.append(_accepted(job_id, entry, JobState.FINISHED, cached=True))
            continue
        taken = file.for_job()
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


def answer(parts: Services, accepted: list[Accepted], files: int) -> Response:
    """The answer to a request that brought so many files: their jobs, or the results if they are waited for."""
    ids = [item.id for item in accepted]
    note_jobs(ids)
    wait = wanted_wait(request, parts.settings.max_wait)
    done = all(item.state is JobState.FINISHED for item in accepted)
    if (wait or done) and not wants_html():
        return wait_for_jobs(parts, ids, wait, {item.id for item in accepted if item.cached})
    if wants_html():  # the form of the page, where scripts are off
        return redirect(_page_of(accepted, files), 303)  # type: ignore[return-value]
    body = accepted[0] if len(accepted) == 1 else AcceptedMany(jobs=accepted)
    response = jsonify(body.model_dump(mode="json"))
    response.status_code = 202
    if len(accepted) == 1:
        response.headers["Location"] = accepted[0].status_url
    return response


def _page_of(accepted: list[Accepted], files: int) -> str:
    if len(accepted) == 1:
        return accepted[0].url
    if files == 1:
        return url_for("views.compare", ids=",".join(item.id for item in accepted))
    return url_for("views.index")


def _cache_key(parts: Services, file: IncomingFile, entry: ModelEntry, options: Options) -> str:
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


def _request(file: IncomingFile, entry: ModelEntry, options: Options, key: str) -> JobRequest:
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
