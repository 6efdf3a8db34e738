"""Jobs as clients see them: what Redis knows of the living, what storage knows of the finished."""

from datetime import timedelta

from flask import url_for
from pydantic import TypeAdapter, ValidationError

from shared.colours import colour_of, css
from shared.errors import PublicError
from shared.jobs import JobOptions, JobState, JobSummary, JobView, Kind, Links, Result, result_key
from shared.media import SHOWN_BY_BROWSERS
from shared.queue import JobRecord
from shared.results import ImageResult, plural
from shared.storage import MissingObjectError
from shared.videos import VideoResult
from web.services import Services

_RESULT: TypeAdapter[Result] = TypeAdapter(Result)


def find_job(services: Services, job_id: str) -> JobView:
    """The job, from Redis, or from storage when Redis has forgotten it.

    Raises:
        PublicError: "not_found".
    """
    record = services.queue.get(job_id)
    return view_of(services, job_id, record)


def view_of(services: Services, job_id: str, record: JobRecord | None) -> JobView:
    """A job with its result. Raises `PublicError("not_found")`."""
    if record is not None and record.state is not JobState.FINISHED:
        return JobView(**_summary_fields(record))
    result = stored_result(services, job_id)
    if result is None:
        raise PublicError("not_found", "There is no such job, or it has expired.")
    colours = {label: css(colour_of(label)) for label in _labels(result)}
    nouns = {label: plural(label, count) for label, count in result.counts.items()}
    if record is not None:
        return JobView(**_summary_fields(record, result), result=result, colours=colours, nouns=nouns)
    return JobView(
        id=job_id,
        kind=result.kind,
        state=JobState.FINISHED,
        filename=result.source.filename,
        model=result.model.name,
        options=JobOptions.model_validate(result.options),
        video_options=result.video_options if isinstance(result, VideoResult) else None,
        created_at=result.created_at,
        started_at=result.started_at,
        finished_at=result.finished_at,
        expires_at=result.finished_at + timedelta(seconds=services.settings.result_ttl),
        links=links_of(job_id, JobState.FINISHED, result.source.content_type, result=result),
        result=result,
        colours=colours,
        nouns=nouns,
    )


def summary_of(record: JobRecord) -> JobSummary:
    """A job as lists show it."""
    return JobSummary(**_summary_fields(record))


def stored_result(services: Services, job_id: str) -> ImageResult | VideoResult | None:
    """The result document in storage, if there is one that this version can read."""
    try:
        return _RESULT.validate_json(services.storage.get(result_key(job_id, "result.json")))
    except (MissingObjectError, ValidationError):
        return None


def links_of(
    job_id: str, state: JobState, content_type: str, kind: Kind = "image", *, result: Result | None = None
) -> Links:
    """Paths of a job and its parts; those that not every result has only where the result is given.

    Args:
        job_id: the job.
        state: of it.
        content_type: of the input.
        kind: of the input; that of the result counts, where there is one.
        result: the result.
    """
    done = state is JobState.FINISHED
    made = {artifact.name for artifact in result.artifacts} if result is not None else set()
    is_video = (result.kind if result is not None else kind) == "video"

    # made once for all names, which have nothing in them that a URL would quote
    folder = url_for("results.get_artifact", job_id=job_id, name="-").removesuffix("-") if done else ""

    def part(name: str) -> str | None:
        return folder + name if done else None

    def extra(name: str) -> str | None:
        return part(name) if name in made else None

    return Links(
        self=url_for("jobs.get_job", job_id=job_id),
        view=url_for("views.view", job_id=job_id),
        events=url_for("jobs.job_events", job_id=job_id),
        image=part("poster.jpg" if is_video else "annotated.jpg"),
        thumbnail=part("thumbnail.jpg"),
        video=extra("annotated.mp4"),
        preview=part("preview.webp") if is_video else None,
        frames=extra("frames.jsonl"),
        csv=extra("frames.csv"),
        live=url_for("videos.live_frame", job_id=job_id) if is_video and state is JobState.RUNNING else None,
        original=part("original") if content_type in SHOWN_BY_BROWSERS else None,
        result=part("result.json"),
        heatmap=extra("heatmap.jpg"),
        instances=extra("instances.png"),
        masks=extra("masks.zip"),
        coco=extra("coco.json"),
    )


def _labels(result: Result) -> list[str]:
    """All that may be drawn. A video's detections may have labels that no object has most."""
    if isinstance(result, VideoResult):
        return list(dict.fromkeys((*result.counts, *result.timeline.most)))
    return [*result.counts, *(found.label for found in result.classes)]


def _summary_fields(record: JobRecord, result: Result | None = None) -> dict[str, object]:
    request = record.request
    return {
        "id": request.id,
        "kind": request.kind,
        "state": record.state,
        "filename": request.input.filename,
        "model": request.model,
        "options": request.options,
        "video_options": request.video,
        "position": record.position,
        "progress": record.progress,
        "priority": request.priority,
        "deadline": request.deadline,
        "attempts": record.attempts,
        "created_at": request.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "expires_at": record.expires_at,
        "error": record.error,
        "links": links_of(request.id, record.state, request.input.content_type, request.kind, result=result),
    }
