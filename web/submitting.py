"""Files become jobs: what `POST /upload` and `POST /jobs/<id>/again` have in common."""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from flask import Response, jsonify, redirect, request, url_for
from pydantic import BaseModel, Field

from shared import logs
from shared.entries import ModelEntry
from shared.errors import BadInputError
from shared.jobs import JobOptions, JobRequest, JobState, cache_key, result_key
from shared.queue import CacheEntry, Submitted
from shared.videos import VideoOptions
from web.access import owner
from web.access_log import note_jobs
from web.choosing import arithmetics_of
from web.errors import wants_html
from web.incoming import IncomingFile
from web.limits import client
from web.services import Services
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


class Made(NamedTuple):
    """What a request that brought files made."""

    accepted: list[Accepted]
    """its jobs: new ones, and those that were known"""
    seen: dict[str, str]
    """of the new ones: the newest entry of their events"""


def submit(
    parts: Services, files: list[IncomingFile], entries: list[ModelEntry], options: Options, terms: Terms
) -> Made:
    """A job for each file and model, or the one that was known; file by file.

    Raises:
        BadInputError: "invalid_option": a model that does not look at videos.
        PublicError: "queue_full", "input_gone", "storage_down", "storage_full".
    """
    for entry in entries:
        if entry.task == "classification" and any(file.is_video for file in files):
            raise BadInputError("invalid_option", f"model: {entry.name} looks at pictures only, not at videos.")
    wanted = [(file, entry, _cache_key(parts, file, entry, options)) for file in files for entry in entries]
    if len(entries) == 1 and not any(file.is_taken for file in files):
        # nearly always all of it is new: then this is all
        requests = [_request(file, entry, options, terms, key) for file, entry, key in wanted]
        submitted = parts.queue.submit(requests, client(), [key for _, _, key in wanted])
        if submitted:
            accepted = [_accepted(file.for_job().job_id, entry, JobState.QUEUED) for file, entry, _ in wanted]
            return _made(accepted, files, submitted)
    found, waiting = parts.queue.before_submit([key for _, _, key in wanted], client())
    known = [_known(parts, entry, job) for (_, entry, _), job in zip(wanted, found, strict=True)]
    if new := known.count(None):
        parts.queue.room.check(new, client(), waiting)  # before anything is copied
    requests, inputs, accepted = [], [], []
    for (file, entry, key), job_id in zip(wanted, known, strict=True):
        if job_id is not None:
            accepted.append(_accepted(job_id, entry, JobState.FINISHED, cached=True))
            continue
        taken = file.for_job()
        inputs.append(taken)
        requests.append(_request(taken, entry, options, terms, key))
        accepted.append(_accepted(taken.job_id, entry, JobState.QUEUED))
    made = _made(accepted, inputs, parts.queue.submit(requests, client()) if requests else [])
    if terms.webhook is not None:
        for item in accepted:
            if item.cached:  # the others' came with their jobs
                parts.queue.hooks.add(item.id, terms.webhook)
    return made


def _made(accepted: list[Accepted], inputs: list[IncomingFile], submitted: list[Submitted]) -> Made:
    """What was made, when the new jobs are in the queue, which have these inputs."""
    for file in inputs:
        file.claim()
    new = {file.job_id: job for file, job in zip(inputs, submitted, strict=True)}
    for item in accepted:
        if item.id in new:
            item.position = new[item.id].position
    return Made(accepted, {job_id: job.news for job_id, job in new.items()})


def answer(parts: Services, made: Made, files: int) -> Response:
    """The answer to a request that brought so many files: their jobs, or the results if they are waited for."""
    accepted = made.accepted
    ids = [item.id for item in accepted]
    note_jobs(ids)
    wait = wanted_wait(request, parts.settings.max_wait)
    done = all(item.state is JobState.FINISHED for item in accepted)
    if (wait or done) and not wants_html():
        return wait_for_jobs(parts, ids, wait, {item.id for item in accepted if item.cached}, made.seen)
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


def _known(parts: Services, entry: ModelEntry, found: CacheEntry | None) -> str | None:
    """Id of the job that was found in the cache, if it is still there and its numbers are as they would be now."""
    if found is None:
        return None
    arithmetics = arithmetics_of(parts, entry)
    if arithmetics is not None and found.arithmetic not in arithmetics:
        return None
    record = parts.queue.get(found.job_id)
    if record is not None and record.state is not JobState.FINISHED:  # canceled, though its result was written
        return None
    there = parts.storage.stat(result_key(found.job_id, "result.json")) is not None
    return found.job_id if there else None


def _request(file: IncomingFile, entry: ModelEntry, options: Options, terms: Terms, key: str) -> JobRequest:
    return JobRequest(
        id=file.job_id,
        input=file.complete,
        model=entry.name,
        options=options.job,
        video=options.for_video(file),
        cache_key=key,
        created_at=datetime.now(UTC),
        priority=terms.priority,
        deadline=terms.deadline,
        webhook=terms.webhook,
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
