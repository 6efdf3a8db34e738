"""The job function of a training: fetch the data, check them, train, publish the model.

It runs in the trainer's horse. Whatever ends an attempt, the next one goes on after the last epoch that is in storage.
`result.json`, written last, is what makes the training finished.
"""

import logging
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from shared.entries import AnyEntry
from shared.errors import BadInputError, TransientError
from shared.jobs import JobState
from shared.queue import connect
from shared.queue.trainings import TrainingQueue
from shared.runs import Epoch, TrainingRun
from shared.settings import Settings
from shared.storage import Storage, open_storage
from shared.trained import TrainedModel, TrainedModels
from shared.trainings import (
    REPORT_DOCUMENT,
    RESULT_DOCUMENT,
    TrainingProgress,
    TrainingRequest,
    TrainingResult,
    training_key,
    training_prefix,
)
from worker.engines import select_backend_for_training
from worker.engines.threads import available_cpus
from worker.models.errors import ModelFileError
from worker.trainer.data import check_dataset, fetch_dataset
from worker.trainer.keeping import RunKeeper
from worker.trainer.notes import warnings_told
from worker.training.checkpoint import DOCUMENT
from worker.training.datasets.check import DatasetReport
from worker.training.datasets.description import Dataset
from worker.training.datasets.errors import DatasetError
from worker.training.errors import TrainingError
from worker.training.runs import train

log = logging.getLogger(__name__)

#: photos go first where both share the processors
NICENESS: Final = 10
#: epochs whose mean time says how long the rest takes
LATELY: Final = 5
#: epochs that are told while a training runs; the result has all
MOST_TOLD: Final = 600


@dataclass(frozen=True, slots=True)
class Tools:
    """What every training of this process uses."""

    settings: Settings
    storage: Storage
    queue: TrainingQueue
    models: TrainedModels

    @property
    def folder(self) -> Path:
        """Of the attempts on this machine."""
        return self.settings.data_dir / "training"


_tools: Tools | None = None


def set_up(settings: Settings) -> dict[str, Any]:
    """Open the connections, and clear away what trainers that were killed have left on this machine."""
    global _tools
    os.nice(NICENESS)
    connection = connect(settings.redis_url, patient=False)
    storage = open_storage(settings)
    _tools = Tools(settings, storage, TrainingQueue(connection, settings), TrainedModels(storage, connection))
    storage.prepare()
    _tools.folder.mkdir(parents=True, exist_ok=True)
    for left in _tools.folder.iterdir():
        record = _tools.queue.get(left.name)
        if record is None or record.state is not JobState.RUNNING:
            shutil.rmtree(left, ignore_errors=True)
    return {"engine": "tensorflow", "models": []}


def run(request: Mapping[str, Any]) -> None:
    """Do one training, or go on with it.

    Args:
        request: a `TrainingRequest` as JSON.

    Raises:
        BadInputError: the data or the options are at fault; the same again gives the same.
        TransientError: storage or Redis is away; worth trying again later.
    """
    if _tools is None:
        raise RuntimeError("set_up was not called in this process")
    training = TrainingRequest.model_validate(request)
    folder = _tools.folder / training.id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with _in_public_words():
            _Attempt(training, folder, _tools).go()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if _tools.queue.was_deleted(training.id):
            _tools.storage.delete_prefix(training_prefix(training.id))


@contextmanager
def _in_public_words() -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        raise BadInputError("bad_dataset", _sentence(str(error))) from error
    except (TrainingError, ModelFileError) as error:
        raise BadInputError("training_failed", _sentence(str(error))) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError("training_failed", f"{where}: {first['msg']}") from error


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" if text.endswith(".") else f"{text[:1].upper()}{text[1:]}."


class _Attempt:
    """One attempt at a training."""

    def __init__(self, training: TrainingRequest, folder: Path, tools: Tools) -> None:
        self._training = training
        self._folder = folder
        self._tools = tools
        self._started = datetime.now(UTC)
        self._keeper = RunKeeper(tools.storage, training.id, training.run.name, folder / "run")
        self._progress = TrainingProgress(stage="fetch")

    def go(self) -> None:
        """Do what is still to be done."""
        storage = self._tools.storage
        if storage.stat(training_key(self._training.id, RESULT_DOCUMENT)) is not None:
            return  # whoever wrote it died before it could say so
        self._tell()
        data = fetch_dataset(self._training.data, storage, self._folder)
        self._tell(stage="check")
        checked = check_dataset(data)
        storage.put(training_key(self._training.id, REPORT_DOCUMENT), checked.report.model_dump_json(indent=2).encode())
        self._tell(checked=True)
        if self._training.check_only:
            self._write_result(None, "")
            return
        if not checked.report.usable:
            raise DatasetError(_why(checked.report))
        record = self._train(checked.dataset)
        self._tell(stage="publish", seconds_left=None)
        self._publish(record)
        self._keeper.finish()
        self._write_result(record, _device())

    def _train(self, dataset: Dataset) -> TrainingRun:
        self._keeper.restore()
        before = self._record()
        if before is not None:
            log.info("training %s goes on after epoch %d", self._training.id, len(before.history))
            self._progress = self._progress.model_copy(
                update={"history": before.history, "best": before.best, "resumed": len(before.history)}
            )
        self._tell(stage="train")
        select_backend_for_training(self._tools.settings.threads or available_cpus())
        run = self._training.run
        with warnings_told(self._note):
            return train(run, dataset, self._folder / "run", self._tools.settings, on_epoch=self._on_epoch)

    def _note(self, text: str) -> None:
        if text not in self._progress.notes:
            self._tell(notes=(*self._progress.notes, text))

    def _record(self) -> TrainingRun | None:
        """The record as it is in the folder of the run."""
        try:
            return TrainingRun.model_validate_json((self._folder / "run" / DOCUMENT).read_bytes())
        except (OSError, ValidationError):
            return None

    def _on_epoch(self, epoch: Epoch) -> None:
        self._keeper.keep()
        history = (*(each for each in self._progress.history if each.epoch < epoch.epoch), epoch)
        # the first one of an attempt also prepares the network
        first = self._progress.resumed + 1
        lately = [each.seconds for each in history[-LATELY:] if each.epoch != first] or [epoch.seconds]
        record = self._record()
        self._tell(
            epoch=epoch.epoch,
            epochs=epoch.epochs,
            history=_thinned(history),
            best=record.best if record is not None else None,
            seconds_left=round(sum(lately) / len(lately) * (epoch.epochs - epoch.epoch), 1),
        )

    def _publish(self, record: TrainingRun) -> None:
        run = self._folder / "run"
        entry = _entry(run / f"{record.name}.toml", record.name)
        model = TrainedModel(
            training_id=self._training.id, created_at=datetime.now(UTC), labels=record.labels, entry=entry
        )
        self._tools.models.publish(model, run)

    def _write_result(self, record: TrainingRun | None, device: str) -> None:
        result = TrainingResult(
            request=self._training,
            # the lists of images are in `training.json`
            run=None if record is None else TrainingRun.model_validate({**record.model_dump(), "files": {}}),
            images={} if record is None else {part: len(names) for part, names in record.files.items()},
            notes=self._progress.notes,
            device=device,
            started_at=self._started,
            finished_at=datetime.now(UTC),
        )
        key = training_key(self._training.id, RESULT_DOCUMENT)
        self._tools.storage.put(key, result.model_dump_json(indent=2).encode())

    def _tell(self, **changes: Any) -> None:  # noqa: ANN401
        self._progress = self._progress.model_copy(update=changes)
        with suppress(TransientError):  # the next one says it, too
            self._tools.queue.report_progress(self._training.id, self._progress)


def _thinned(history: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """All of late, and of those before every second one as often as they are too many: each news has them all."""
    return history if len(history) <= MOST_TOLD else (*history[:-LATELY:2], *history[-LATELY:])


def _why(report: DatasetReport) -> str:
    fatal = [problem.message for problem in report.problems if problem.fatal]
    return f"the data cannot be trained on: {'; '.join(fatal[:3])}"


def _entry(path: Path, name: str) -> AnyEntry:
    """The catalogue's entry that a run has written."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))["models"][name]
    adapter: TypeAdapter[AnyEntry] = TypeAdapter(AnyEntry)
    return adapter.validate_python({"name": name, **table})


def _device() -> str:
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in found]
    return ", ".join(names) or f"CPU, {available_cpus()} threads"
