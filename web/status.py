"""For operators: what the service is doing, as a page (`/status`) and as JSON, and buttons to retry and to cancel."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from apiflask import APIBlueprint, APIFlask
from flask import Response, jsonify, make_response, redirect, render_template, request, url_for
from pydantic import BaseModel, Field

from shared.errors import PublicError
from shared.jobs import ErrorInfo, JobState, Priority
from shared.queue import CancelOutcome, Fleet, JobRecord, WorkerInfo
from shared.queue.overview import LaneOverview
from shared.queue.streams import StreamQueue, StreamRecord
from shared.queue.trainings import TrainingQueue, TrainingRecord
from web.access import is_operator
from web.errors import wants_html
from web.ids import checked_id
from web.presenting import find_job
from web.retrying import put_back
from web.services import Services, services

bp = APIBlueprint("status", __name__, tag="Operations")

#: jobs shown of each kind
SHOWN: Final = 20
#: the newest trainings, streams and failed jobs: among them is looked for what is shown
_LOOKED_AT: Final = 200
#: what a button says when it has been pressed
_DONE: Final = {"retry": "The job is back in the queue.", "cancel": "The job is canceled, or being stopped."}
#: faults of the file itself: it would fail again
_HOPELESS: Final = frozenset({"bad_image", "bad_aspect", "bad_video", "no_video_stream", "no_frames", "input_gone"})


class StatusJob(BaseModel):
    """A job as an operator sees it."""

    id: str
    filename: str
    model: str
    priority: Priority
    owner: str | None = Field(description="name of the API key that brought it")
    worker: str | None = Field(description="who has it; one of those that have parts of it")
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: ErrorInfo | None


class StatusFailure(StatusJob):
    """A failed job, which stands for those before it in which the same file failed for the same reason."""

    times: int = Field(1, description="so many of the newest failed jobs are like this one, itself among them")


class StatusWorker(BaseModel):
    """A worker as it says of itself with every heartbeat."""

    name: str
    host: str
    pid: int
    state: str = Field(description="loading, idle or busy")
    engine: str
    models: list[str] = Field(description="in memory, the one used last at the end")
    installed: list[str]
    job: StatusJob | None = Field(description="what it is doing")
    memory_bytes: int = Field(description="of the process with the models; 0 where the system does not say")
    jobs: int = Field(description="run since it was started")
    restarts: int = Field(description="times its process with the models had to be brought up again")
    started_at: datetime


class StatusTask(BaseModel):
    """A training or a live stream as an operator sees it."""

    id: str
    name: str = Field(description="of the training's model; of a stream its URL, without user, password and query")
    owner: str | None = Field(description="name of the API key that brought it")
    state: JobState
    doing: str = Field(description="of a running one: stage or phase; else empty")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: ErrorInfo | None


class StatusTasks(BaseModel):
    """Trainers with their trainings, or streamers with their streams."""

    workers: list[StatusWorker] = Field(description="that are alive; their `job` is not told")
    waiting: int
    running: list[StatusTask] = Field(description="of the newest that Redis knows")
    failed: list[StatusTask] = Field(description="likewise, newest first")


class Status(BaseModel):
    """Everything on the page."""

    at: datetime
    jobs: dict[JobState, int] = Field(description="that Redis knows, by state")
    queues: list[LaneOverview]
    workers: list[StatusWorker]
    failures: dict[str, int] = Field(description="failed jobs that Redis knows (`FAILURE_TTL`), by code")
    failed: list[StatusFailure] = Field(description="the newest of them, those that are alike once")
    running: list[StatusJob]
    waiting: list[StatusJob] = Field(description="those that are next in each queue")
    trainings: StatusTasks
    streams: StatusTasks


def register(app: APIFlask) -> None:
    """Add the page, and the link to it for those who may open it."""
    app.register_blueprint(bp)
    app.context_processor(lambda: {"operator": is_operator()})


@bp.before_request
def need_operator() -> None:
    """Everything here is for operators only."""
    if not is_operator():
        raise PublicError("forbidden", "This is for operators: ADMIN_KEYS says whose keys open it.")


@bp.get("/status")
@bp.doc(hide=True)
def page() -> Response:
    """The page."""
    response = make_response(
        render_template(
            "status.html",
            status=_status(services()),
            hopeless=_HOPELESS,
            message=_DONE.get(request.args.get("done", "")),
        )
    )
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/status.json")
@bp.output(Status)
@bp.doc(
    summary="What the service is doing",
    description="For operators: where keys are asked for, one whose name is in `ADMIN_KEYS`.",
    responses={403: "The key is no operator's.", 503: "Redis is away."},
)
def status_json() -> Status:
    """The same as JSON."""
    return _status(services())


@bp.post("/status/jobs/<job_id>/retry")
@bp.doc(hide=True)
def retry(job_id: str) -> Response:
    """Run a failed job again."""
    job_id = checked_id(job_id)
    put_back(services(), job_id)
    return _pressed(job_id, "retry")


@bp.post("/status/jobs/<job_id>/cancel")
@bp.doc(hide=True)
def cancel(job_id: str) -> Response:
    """Cancel anybody's job."""
    job_id = checked_id(job_id)
    if services().queue.cancel(job_id) is CancelOutcome.TOO_LATE:
        raise PublicError("conflict", "The job has ended already.")
    return _pressed(job_id, "cancel")


def _pressed(job_id: str, what: str) -> Response:
    if wants_html():
        return redirect(url_for("status.page", done=what), 303)  # type: ignore[return-value]
    response = jsonify(find_job(services(), job_id).model_dump(mode="json", by_alias=True))
    response.status_code = 202
    return response


def _status(parts: Services) -> Status:
    running = [record for record in parts.overview.running() if record.state is JobState.RUNNING]
    failures = parts.overview.failures(_LOOKED_AT)
    by_worker = parts.overview.at_work()
    holders = {record.request.id: worker for worker, record in by_worker.items()}
    return Status(
        at=datetime.now(UTC),
        jobs=parts.listing.count_by_state(),
        queues=parts.overview.lanes(),
        workers=[_worker(worker, by_worker.get(worker.name)) for worker in parts.fleet.workers()],
        failures=failures.by_code,
        failed=_alike_once(record for record in failures.newest if record.state is JobState.FAILED)[:SHOWN],
        running=[_job(record, holders.get(record.request.id)) for record in running],
        waiting=[_job(record) for record in parts.overview.waiting(SHOWN) if record.state is JobState.QUEUED],
        trainings=_tasks(parts.trainers, parts.trainings),
        streams=_tasks(parts.streamers, parts.streams),
    )


def _alike_once(records: Iterable[JobRecord]) -> list[StatusFailure]:
    """Failed jobs, newest first: one that nobody mends is tried again and again, and would hide the others."""
    shown: dict[tuple[str, ...], StatusFailure] = {}
    for record in records:
        asked, error = record.request, record.error
        why = error.model_dump_json() if error is not None else ""
        alike = (asked.input.sha256, asked.input.filename, asked.model, asked.owner or "", why)
        if alike in shown:
            shown[alike].times += 1
        else:
            shown[alike] = StatusFailure(**_job(record).model_dump())
    return list(shown.values())


def _tasks(fleet: Fleet, queue: TrainingQueue | StreamQueue) -> StatusTasks:
    known: list[TrainingRecord | StreamRecord] = [
        record for record in queue.get_many(queue.ids(_LOOKED_AT)) if record is not None
    ]
    return StatusTasks(
        workers=[_worker(worker, None, worker.state) for worker in fleet.workers()],
        waiting=queue.lanes.waiting(),
        running=[_task(record) for record in known if record.state is JobState.RUNNING],
        failed=[_task(record) for record in known if record.state is JobState.FAILED][:SHOWN],
    )


def _task(record: TrainingRecord | StreamRecord) -> StatusTask:
    doing = ""
    if isinstance(record, TrainingRecord):
        name = record.request.run.name
        if record.progress is not None:
            doing = record.progress.stage
    else:
        name = record.request.url
        if record.progress is not None:
            doing = record.progress.phase
    return StatusTask(
        id=record.request.id,
        name=name,
        owner=record.request.owner,
        state=record.state,
        doing=doing,
        created_at=record.request.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        error=record.error,
    )


def _worker(worker: WorkerInfo, record: JobRecord | None, state: str = "") -> StatusWorker:
    # the announcement is some seconds old; which job it has, Redis knows at once
    state = state or ("busy" if record is not None else "idle" if worker.ready else "loading")
    return StatusWorker(
        **worker.model_dump(include={"name", "host", "pid", "engine", "models", "installed", "memory_bytes"}),
        state=state,
        job=_job(record, worker.name) if record is not None else None,
        jobs=worker.jobs_done,
        restarts=worker.restarts,
        started_at=datetime.fromtimestamp(worker.started_at, UTC),
    )


def _job(record: JobRecord, worker: str | None = None) -> StatusJob:
    asked = record.request
    return StatusJob(
        id=asked.id,
        filename=asked.input.filename,
        model=asked.model,
        priority=asked.priority,
        owner=asked.owner,
        worker=worker,
        attempts=record.attempts,
        created_at=asked.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        error=record.error,
    )
