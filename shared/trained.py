"""Models that were trained here. Storage has them, so that every machine does; workers keep copies of their own.

    models/NAME/FILE            the files that the entry names
    models/NAME/model.json      the entry; written last, deleted first: it is what makes the model one

A word in Redis that changes with each change tells all processes to look into storage again.
"""

import logging
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import redis
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.client import Pipeline

from shared.entries import AnyEntry, ModelEntry, WeightFile
from shared.errors import PublicError
from shared.queue import keys
from shared.queue.connection import queue_errors
from shared.settings import Settings
from shared.storage import MissingObjectError, Storage

log = logging.getLogger(__name__)

MODELS: Final = "models/"
DOCUMENT: Final = "model.json"
#: seconds before a storage that was away is asked again
PAUSE: Final = 5.0


class TrainedModel(BaseModel):
    """`model.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    training_id: str
    created_at: datetime
    labels: tuple[str, ...]
    entry: AnyEntry


class TrainedModels:
    """The models that were trained here.

    Args:
        storage: which has them.
        connection: to Redis.
    """

    def __init__(self, storage: Storage, connection: redis.Redis) -> None:
        self._storage = storage
        self._redis = connection
        self._word: object = self  # no word that Redis may have
        self._models: dict[str, TrainedModel] = {}
        self._not_before = 0.0

    def read(self) -> Mapping[str, TrainedModel]:
        """Those there are now, by name; those of before while Redis or storage is away."""
        try:
            with queue_errors():
                word = self._redis.get(keys.MODELS)
        except PublicError:
            return self._models
        return self._at(word)

    def _at(self, word: object) -> Mapping[str, TrainedModel]:
        """Those there are while Redis has this word."""
        if word != self._word and time.monotonic() >= self._not_before:
            try:
                self._models = self._look()
                self._word = word
            except PublicError as error:
                log.warning("models that were trained here cannot be looked up: %s", error)
                self._not_before = time.monotonic() + PAUSE
        return self._models

    def entries(self) -> Mapping[str, AnyEntry]:
        """Their entries, for the catalogue."""
        return _entries(self.read())

    @staticmethod
    def ask(pipeline: Pipeline) -> None:
        """Ask for `entries` with a pipeline of the caller's."""
        pipeline.get(keys.MODELS)

    def read_entries(self, replies: Iterator[object]) -> Mapping[str, AnyEntry]:
        """Those of the word that the pipeline answered to `ask`, the next of its replies."""
        return _entries(self._at(next(replies)))

    def _look(self) -> dict[str, TrainedModel]:
        found: dict[str, TrainedModel] = {}
        documents = [stat.key for stat in self._storage.list(MODELS) if stat.key.endswith(f"/{DOCUMENT}")]
        for key in documents:
            try:
                model = TrainedModel.model_validate_json(self._storage.get(key))
            except (MissingObjectError, ValidationError) as error:  # deleted meanwhile, or of a later version
                log.warning("%s is no model: %s", key, error)
                continue
            found[model.entry.name] = model
        return found

    def publish(self, model: TrainedModel, folder: Path) -> None:
        """Give everybody a model whose files lie in a folder. One of that name is replaced."""
        name = model.entry.name
        self._storage.delete(_key(name, DOCUMENT))
        for file in model.entry.files:
            self._storage.put_file(_key(name, file.name), folder / file.name)
        self._storage.put(_key(name, DOCUMENT), model.model_dump_json().encode())
        self._announce()

    def delete(self, name: str) -> bool:
        """Take a model away; False if there was none."""
        self._storage.delete(_key(name, DOCUMENT))
        count = self._storage.delete_prefix(f"{MODELS}{name}/")
        self._announce()
        return count > 0

    @queue_errors()
    def _announce(self) -> None:
        self._redis.set(keys.MODELS, secrets.token_hex(8))

    def fetch(self, model: TrainedModel, settings: Settings) -> Path:
        """A folder of this machine with all files of a model; copied from storage if they are not there.

        Raises:
            MissingObjectError: it was deleted meanwhile.
            PublicError: storage is away.
            OSError: the folder cannot be written.
        """
        folder = local_folder(model, settings)
        for file in model.entry.missing_files(folder):
            self._copy(model.entry, file, folder)
        return folder

    def prune(self, settings: Settings) -> None:
        """Remove the copies of models that are no more; none while nobody can say which those are."""
        kept = {model.training_id for model in self.read().values()}
        if self._word is self:
            return
        with suppress(OSError):
            for folder in (settings.engine_cache / "trained").iterdir():
                if folder.name not in kept:
                    shutil.rmtree(folder, ignore_errors=True)

    def _copy(self, entry: ModelEntry, file: WeightFile, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{file.name}.{secrets.token_hex(4)}"
        try:
            self._storage.get_file(_key(entry.name, file.name), scratch)
            scratch.replace(folder / file.name)
        finally:
            scratch.unlink(missing_ok=True)


def local_folder(model: TrainedModel, settings: Settings) -> Path:
    """Where a worker keeps the files of a model: another one of the same name is another training's."""
    return settings.engine_cache / "trained" / model.training_id


def _entries(models: Mapping[str, TrainedModel]) -> dict[str, AnyEntry]:
    return {name: model.entry for name, model in models.items()}


def _key(name: str, file: str) -> str:
    return f"{MODELS}{name}/{file}"
