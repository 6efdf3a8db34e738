"""Trainings as clients see them: what Redis knows of the living, what storage knows of the finished."""

from flask import url_for
from pydantic import ValidationError

from shared.errors import PublicError
from shared.jobs import JobState
from shared.queue.trainings import TrainingRecord
from shared.storage import MissingObjectError
from shared.trainings import (
    REPORT_DOCUMENT,
    RESULT_DOCUMENT,
    TRAININGS,
    TrainingFile,
    TrainingLinks,
    TrainingRequest,
    TrainingResult,
    TrainingSummary,
    TrainingView,
    run_prefix,
    training_key,
)
from web.services import Services


def find_training(services: Services, training_id: str) -> TrainingView:
    """The training, from Redis, or from storage when Redis has forgotten it. Raises `PublicError("not_found")`."""
    return view_of(services, training_id, services.trainings.get(training_id))


def view_of(services: Services, training_id: str, record: TrainingRecord | None) -> TrainingView:
    """A training with what it has brought. Raises `PublicError("not_found")`."""
    result = _stored_result(services, training_id) if record is None or record.state is JobState.FINISHED else None
    if record is None and result is None:
        raise PublicError("not_found", "There is no such training.")
    summary = _summary(services, training_id, record, result)
    return TrainingView(
        **dict(summary),
        progress=record.progress if record is not None else None,
        result=result,
        files=_files(services, training_id) if summary.state.is_final else [],
    )


def list_trainings(services: Services) -> list[TrainingSummary]:
    """All trainings, newest first."""
    ids = dict.fromkeys(services.trainings.ids())
    for stat in services.storage.list(TRAININGS):
        training_id, _, name = stat.key.removeprefix(TRAININGS).partition("/")
        if name == RESULT_DOCUMENT:
            ids.setdefault(training_id)
    found = []
    for training_id, record in zip(ids, services.trainings.get_many(list(ids)), strict=True):
        result = _stored_result(services, training_id) if record is None else None
        if record is not None or result is not None:
            found.append(_summary(services, training_id, record, result))
    return sorted(found, key=lambda each: each.created_at, reverse=True)


def _summary(
    services: Services, training_id: str, record: TrainingRecord | None, result: TrainingResult | None
) -> TrainingSummary:
    if record is not None:
        request, state = record.request, record.state
    elif result is not None:
        request, state = result.request, JobState.FINISHED
    model = services.trained.read().get(request.run.name)
    in_use = model is not None and model.training_id == training_id
    finished = state is JobState.FINISHED
    checked = finished or (record is not None and record.progress is not None and record.progress.checked)
    if state is JobState.FAILED:
        checked = services.storage.stat(training_key(training_id, REPORT_DOCUMENT)) is not None
    return TrainingSummary(
        id=training_id,
        state=state,
        run=request.run,
        data=request.data,
        check_only=request.check_only,
        position=record.position if record is not None else None,
        attempts=record.attempts if record is not None else 0,
        owner=request.owner,
        created_at=request.created_at,
        started_at=record.started_at if record is not None else result and result.started_at,
        finished_at=record.finished_at if record is not None else result and result.finished_at,
        error=record.error if record is not None else None,
        in_use=in_use,
        links=_links(request, checked, in_use),
    )


def _links(request: TrainingRequest, checked: bool, in_use: bool) -> TrainingLinks:
    return TrainingLinks(
        self=url_for("trainings.get_training", training_id=request.id),
        view=url_for("training_pages.training", training_id=request.id),
        events=url_for("trainings.training_events", training_id=request.id),
        report=url_for("trainings.get_report", training_id=request.id) if checked else None,
        use=url_for("views.index", model=request.run.name) if in_use else None,
    )


def _files(services: Services, training_id: str) -> list[TrainingFile]:
    prefix = run_prefix(training_id)
    return [
        TrainingFile(
            name=(name := stat.key.removeprefix(prefix)),
            bytes=stat.size,
            url=url_for("trainings.get_file", training_id=training_id, name=name),
        )
        for stat in services.storage.list(prefix)
    ]


def _stored_result(services: Services, training_id: str) -> TrainingResult | None:
    try:
        return TrainingResult.model_validate_json(services.storage.get(training_key(training_id, RESULT_DOCUMENT)))
    except (MissingObjectError, ValidationError):
        return None
