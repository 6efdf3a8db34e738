"""`/trainings`: models from one's own pictures. For operators, and only where training is on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from re import fullmatch
from typing import Annotated, Any, Final, cast, get_args

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from flask import Response, current_app, jsonify, redirect, request, stream_with_context
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from werkzeug.datastructures import FileStorage

from shared import logs
from shared.entries import ClassifierEntry
from shared.errors import BadInputError, PublicError
from shared.jobs import new_job_id
from shared.queue import CancelOutcome
from shared.runs import Backbone, RunRequest, TrainingKind
from shared.storage import MissingObjectError
from shared.trainings import (
    DATASETS,
    REPORT_DOCUMENT,
    StoredDataset,
    TrainingRequest,
    TrainingSummary,
    TrainingView,
    dataset_document,
    folder_prefix,
    run_prefix,
    training_key,
    training_prefix,
)
from web.access import is_operator, owner
from web.describing import answers
from web.errors import wants_html
from web.forms import Form
from web.ids import checked_id
from web.incoming_data import IncomingDataset, find_uploaded
from web.live import follow
from web.security import USER_FILE_POLICY
from web.services import Services, services
from web.training_views import find_training, list_trainings

bp = APIBlueprint("trainings", __name__, tag="Trainings")

#: families of models that each kind of training may go on from
STARTS: Final[dict[TrainingKind, frozenset[str]]] = {
    "classification": frozenset({"classifier"}),
    "detection": frozenset({"darknet"}),
    "masks": frozenset({"darknet", "mask_rcnn"}),
}
#: what every path here may answer
REFUSED: Final = {403: "Training is off, or the key is no operator's."}
#: beside the file, in a form
_FORM_BYTES = 1 << 20


class TrainingForm(RunRequest, Form):
    """The multipart form of a training."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    data: Annotated[UploadFile | None, Field(description="a zip file with images and what is in them")] = None
    dataset: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,64}$",
        description="instead of `data`: the SHA-256 of one that was uploaded before, or a folder below `datasets/`",
    )
    check: bool = Field(False, description="only look through the data")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, values: Any) -> Any:  # noqa: ANN401
        return {name: value for name, value in dict(values).items() if value not in ("", None)}

    @field_validator("data", mode="before")
    @classmethod
    def _no_file(cls, value: object) -> object:
        return value if isinstance(value, FileStorage) else None

    @field_validator("classes", mode="before")
    @classmethod
    def _apart_by_commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class TrainingList(BaseModel):
    """All trainings, newest first."""

    trainings: list[TrainingSummary]
    trainers: int = Field(description="that are alive; with none, trainings wait")


class DatasetList(BaseModel):
    """What `dataset=` may say."""

    datasets: list[StoredDataset]


def may_train() -> bool:
    """Whether this request may train, and see trainings."""
    return services().settings.allow_training and is_operator()


@bp.before_request
def need_permission() -> None:
    """Everything here is for those who may train."""
    if not services().settings.allow_training:
        raise PublicError(
            "forbidden", "Training is off here: ALLOW_TRAINING=true (or make run TRAINING=1) switches it on."
        )
    if not is_operator():
        raise PublicError("forbidden", "Training is for operators: ADMIN_KEYS says whose keys open it.")
    request.max_content_length = services().settings.max_dataset_bytes + _FORM_BYTES


@bp.post("/trainings")
@bp.input(TrainingForm, location="form_and_files")
@bp.output(TrainingView, status_code=202, description="The data are stored, the training is queued.")
@bp.doc(
    summary="Train a model",
    description=(
        "The data are checked by the trainer before it begins. The finished model is among those of `GET /models` "
        "under its `name`."
    ),
    responses={
        400: "No data.",
        404: "There is no such data set.",
        409: "The name is taken.",
        413: "Too large.",
        415: "Not a zip file.",
        422: "An option is wrong.",
        429: "Too many trainings wait.",
    }
    | REFUSED,
)
def create(form_and_files_data: TrainingForm) -> TrainingView | Response:
    """Take the data and put a training into the queue."""
    form, parts = form_and_files_data, services()
    run = RunRequest(**form.model_dump(include=set(RunRequest.model_fields)))
    _need_fit_start(parts, run)
    if not form.check:
        _need_free_name(parts, run.name)
    training = TrainingRequest(
        id=new_job_id(),
        run=run,
        data=_data(parts, form),
        check_only=form.check,
        created_at=datetime.now(UTC),
        owner=owner(),
        request_id=logs.request_id.get(),
    )
    parts.trainings.submit(training)
    view = find_training(parts, training.id)
    if wants_html():  # the form of the page, where scripts are off
        return redirect(view.links.view, 303)  # type: ignore[return-value]
    response = jsonify(view.model_dump(mode="json"))
    response.status_code = 202
    response.headers["Location"] = view.links.self
    return response


def _need_fit_start(parts: Services, run: RunRequest) -> None:
    """Whether the model to go on from is of the operator's catalogue, and of a fit kind. The trainer looks again."""
    if run.start is None:
        return
    entry = parts.reader.own().models.get(run.start)
    if entry is None:
        raise BadInputError("invalid_option", f"start: there is no model {run.start!r} in the catalogue.")
    fits = entry.family in STARTS[run.kind]
    if isinstance(entry, ClassifierEntry):
        fits = fits and entry.architecture in ((run.backbone,) if run.backbone else get_args(Backbone))
    if not fits:
        raise BadInputError("invalid_option", f"start: a training of {run.kind} cannot go on from {run.start}.")


def _need_free_name(parts: Services, name: str) -> None:
    taken = name in parts.catalog.models or any(
        record.request.run.name == name and not record.request.check_only for record in parts.trainings.living()
    )
    if taken:
        raise PublicError("conflict", f"There is a model called {name!r} already, or one in the making.")


def _data(parts: Services, form: TrainingForm) -> StoredDataset:
    stream = cast(object, form.data.stream) if form.data is not None else None
    if isinstance(stream, IncomingDataset):
        return stream.claim()
    if not form.dataset:
        raise BadInputError("no_file", "There is no zip file in the form field 'data', and no 'dataset' is named.")
    uploaded = find_uploaded(parts.storage, form.dataset) if len(form.dataset) == 64 else None
    if uploaded is not None:
        return uploaded
    prefix = folder_prefix(form.dataset)
    try:
        found = any(True for _ in parts.storage.list(prefix))
    except ValueError:  # no name that anything in storage can have
        found = False
    if not found:
        raise PublicError("not_found", f"There is no data set {form.dataset!r}.")
    return StoredDataset(name=form.dataset, key=prefix, filename=form.dataset)


@bp.get("/trainings")
@bp.output(TrainingList)
@bp.doc(summary="List trainings", responses=REFUSED)
def list_all() -> TrainingList:
    """All trainings."""
    parts = services()
    return TrainingList(trainings=list_trainings(parts), trainers=len(parts.trainers.workers()))


@bp.get("/trainings/<training_id>")
@bp.output(TrainingView)
@bp.doc(summary="State and result of a training", responses={404: "There is no such training."} | REFUSED)
def get_training(training_id: str) -> TrainingView:
    """The training with its curves, and its result."""
    return find_training(services(), checked_id(training_id))


@bp.get("/trainings/<training_id>/events")
@bp.doc(
    summary="News of a training",
    description="Server-sent events `job`, with the training as data, until `end`.",
    responses=answers(("text/event-stream",), {200: "The events.", 404: "There is no such training."} | REFUSED),
)
def training_events(training_id: str) -> Response:
    """News of one training."""
    parts = services()
    find_training(parts, checked_id(training_id))
    return current_app.response_class(
        stream_with_context(follow(parts, [training_id], _states)),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def _states(parts: Services, training_ids: list[str]) -> Iterator[tuple[str, str, bool]]:
    for training_id in training_ids:
        try:
            view = find_training(parts, training_id)
        except PublicError as error:
            if error.code != "not_found":
                raise
            yield training_id, '{"state": "gone"}', True
        else:
            yield training_id, view.model_dump_json(), view.state.is_final


@bp.post("/trainings/<training_id>/cancel")
@bp.output(TrainingView, status_code=202)
@bp.doc(
    summary="Cancel a training",
    description="What it has learnt by its last epoch can be downloaded. It is not among the models.",
    responses={404: "There is no such training.", 409: "It has ended already."} | REFUSED,
)
def cancel(training_id: str) -> TrainingView | Response:
    """Cancel a training."""
    parts, training_id = services(), checked_id(training_id)
    if parts.trainings.cancel(training_id) is CancelOutcome.TOO_LATE:
        raise PublicError("conflict", "The training has ended already.")
    view = find_training(parts, training_id)
    return redirect(view.links.view, 303) if wants_html() else view  # type: ignore[return-value]


class DeleteQuery(BaseModel):
    """What goes with a training."""

    model: bool = Field(False, description="its model, too, if it is the one that can be chosen under that name")
    data: bool = Field(False, description="its data set, too, if it was uploaded and no other training has it")


@bp.delete("/trainings/<training_id>")
@bp.input(DeleteQuery, location="query")
@bp.output({}, status_code=204)
@bp.doc(
    summary="Delete a training",
    description="Stops it, and deletes its files. A model that can be chosen stays, unless `model=true`.",
    responses={404: "There is no such training."} | REFUSED,
)
def delete(training_id: str, query_data: DeleteQuery) -> tuple[str, int]:
    """Delete a training."""
    parts, training_id = services(), checked_id(training_id)
    view = find_training(parts, training_id)
    parts.trainings.forget(training_id)
    parts.storage.delete_prefix(training_prefix(training_id))
    if query_data.model and view.in_use:
        parts.trained.delete(view.run.name)
    others = {each.data.name for each in list_trainings(parts)}
    if query_data.data and not view.data.is_folder and view.data.name not in others:
        _delete_dataset(parts, view.data)
    return "", 204


@bp.get("/trainings/<training_id>/report.json")
@bp.doc(
    summary="What is wrong with the data",
    responses=answers(("application/json",), {200: "The report, file by file.", 404: "There is none (yet)."} | REFUSED),
)
def get_report(training_id: str) -> Response:
    """The report that the trainer wrote."""
    return _send(training_key(checked_id(training_id), REPORT_DOCUMENT), "application/json", None)


@bp.get("/trainings/<training_id>/files/<name>")
@bp.doc(
    summary="A file of a training",
    description="`files` of the training has their names: the model, its entry for a catalogue, `training.json`.",
    responses=answers(("application/octet-stream",), {200: "The file.", 404: "There is no such file (yet)."} | REFUSED),
)
def get_file(training_id: str, name: str) -> Response:
    """A file of a training, to be saved."""
    try:
        return _send(f"{run_prefix(checked_id(training_id))}{name}", "application/octet-stream", name)
    except ValueError:  # no name that anything in storage can have
        raise _missing() from None


@bp.get("/datasets")
@bp.output(DatasetList)
@bp.doc(
    summary="Data sets that are there",
    description="Uploaded ones, and folders below `datasets/` in storage.",
    responses=REFUSED,
)
def list_datasets() -> DatasetList:
    """The data sets."""
    return DatasetList(datasets=stored_datasets(services()))


@bp.delete("/datasets/<name>")
@bp.output({}, status_code=204)
@bp.doc(
    summary="Delete a data set that was uploaded",
    responses={404: "There is no such data set.", 409: "A training that has not ended needs it."} | REFUSED,
)
def delete_dataset(name: str) -> tuple[str, int]:
    """Delete an uploaded data set; an operator's folder is the operator's."""
    parts = services()
    data = find_uploaded(parts.storage, name) if fullmatch(r"[0-9a-f]{64}", name) else None
    if data is None:
        raise PublicError("not_found", "There is no such data set.")
    if any(record.request.data.name == name for record in parts.trainings.living()):
        raise PublicError("conflict", "A training that has not ended needs these data.")
    _delete_dataset(parts, data)
    return "", 204


def _delete_dataset(parts: Services, data: StoredDataset) -> None:
    parts.storage.delete(dataset_document(data.name))
    parts.storage.delete(data.key)


def stored_datasets(parts: Services) -> list[StoredDataset]:
    """The data sets there are, those uploaded last first."""
    found: dict[str, StoredDataset] = {}
    for stat in parts.storage.list(DATASETS):
        first, slash, _ = stat.key.removeprefix(DATASETS).partition("/")
        if slash:
            found.setdefault(first, StoredDataset(name=first, key=folder_prefix(first), filename=first))
        elif first.endswith(".json") and (data := find_uploaded(parts.storage, first.removesuffix(".json"))):
            found[data.name] = data
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found.values(), key=lambda data: data.created_at or oldest, reverse=True)


def _send(key: str, content_type: str, saved_as: str | None) -> Response:
    """An object of storage. Streamed here even where links are signed: the bucket would call it by another type."""
    try:
        blob = services().storage.open(key)
    except MissingObjectError:
        raise _missing() from None
    response = current_app.response_class(blob, mimetype=content_type)
    response.call_on_close(blob.close)
    response.content_length = blob.stat.size
    response.headers["Content-Security-Policy"] = USER_FILE_POLICY
    response.headers["Cache-Control"] = "private, no-cache"
    if saved_as is not None:
        response.headers.set("Content-Disposition", "attachment", filename=saved_as)
    return response


def _missing() -> PublicError:
    return PublicError("not_found", "There is no such file.")
