"""Which models look at an upload: the names of its `model` field, or those that a rule picks."""

import time
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple, cast

from flask import g
from redis.client import Pipeline

from shared.catalog import Catalog
from shared.entries import AUTO, ModelEntry
from shared.errors import BadInputError
from shared.jobs import OPTIONS_OF_TASK
from shared.queue import WorkerInfo, queue_errors
from web.services import Services

#: models that may look at one upload
MOST_MODELS: Final = 4
#: seconds for which it is good what was asked before the body came
FRESH: Final = 1.0


def wanted_models(services: Services, names: str, options: Collection[str] = ()) -> list[ModelEntry]:
    """The models that are asked for, each once, in the order they are named.

    Args:
        services: of the app.
        names: of models, apart by commas; `auto` is one. Empty: the default.
        options: names of the options that were sent, for `auto`.

    Raises:
        BadInputError: "unknown_model", "model_not_installed", or "invalid_option": they are too many.
    """
    models = _models(services)
    catalog, installed = models.catalog, models.installed
    wanted = [name for part in names.split(",") if (name := part.strip())] or [catalog.in_use(installed)]
    if len(wanted) > MOST_MODELS:
        raise BadInputError("invalid_option", f"model: {MOST_MODELS} models may look at one upload at most.")
    entries: dict[str, ModelEntry] = {}
    for name in wanted:
        entry = automatic(catalog, installed, options) if name == AUTO else catalog[name]
        entries[entry.name] = entry
    for entry in entries.values():
        _check_installed(entry, installed)
    return list(entries.values())


def automatic(catalog: Catalog, installed: Collection[str] | None, options: Collection[str] = ()) -> ModelEntry:
    """The model that `auto` stands for; docs/models.md has the rule for people.

    Options that only one kind of models has say which kind is wanted; else it is one that finds objects. Of the
    installed ones it is the default (or what stands in for it), or the first in the catalogue's order.

    Args:
        catalog: all models.
        installed: names of those that a worker can run; None: nobody knows.
        options: names of the options that were sent.

    Raises:
        BadInputError: "model_not_installed".
    """
    classifying = set(OPTIONS_OF_TASK["classification"])
    finding = set(OPTIONS_OF_TASK["detection"]) | set(OPTIONS_OF_TASK["segmentation"])
    classifier = bool(classifying & set(options)) and not finding & set(options)
    first = catalog.in_use(installed)
    entries = sorted(catalog.models.values(), key=lambda entry: entry.name != first)  # stable
    for entry in entries:
        if (entry.task == "classification") is classifier and (installed is None or entry.name in installed):
            return entry
    kind = "classifier" if classifier else "model that finds objects"
    raise BadInputError("model_not_installed", f"model=auto: no {kind} is installed.")


def installed_models(services: Services) -> set[str] | None:
    """Names of the models that a live worker can run; None while there is no such worker to ask."""
    return _models(services).installed


def arithmetics_of(services: Services, entry: ModelEntry) -> set[str] | None:
    """In what the live workers that have the model in memory compute; None while there is no worker to ask."""
    ready = _models(services).ready
    return {worker.arithmetic[entry.name] for worker in ready if entry.name in worker.arithmetic} if ready else None


class Models(NamedTuple):
    """The models there are, and the workers that are ready, as Redis said at a time."""

    catalog: Catalog
    ready: list[WorkerInfo]
    at: float
    """`time.monotonic()`"""

    @staticmethod
    def ask(services: Services, pipeline: Pipeline) -> None:
        """Ask for them with a pipeline of the caller's."""
        services.trained.ask(pipeline)
        services.fleet.ask(pipeline)

    @classmethod
    def read(cls, services: Services, replies: Iterator[Any]) -> "Models":
        """What the pipeline answered to `ask`, its next replies. Raises `PublicError("model_broken")`."""
        catalog = services.reader.read(services.trained.read_entries(replies))
        return cls(catalog, [worker for worker in services.fleet.read(replies) if worker.ready], time.monotonic())

    @property
    def installed(self) -> set[str] | None:
        """As `installed_models` says."""
        if not self.ready:
            return None
        # of what was trained here, each worker has a copy when it is asked for it
        return {name for worker in self.ready for name in worker.installed} | self.catalog.trained


def _models(services: Services) -> Models:
    """Asked for once a request, and once more if its body took long to come."""
    known = cast(Models | None, g.get("models"))
    if known is None or time.monotonic() - known.at > FRESH:
        with queue_errors():
            pipe = services.queue.redis.pipeline(transaction=False)
            Models.ask(services, pipe)
            known = g.models = Models.read(services, iter(pipe.execute()))
    return known


def _check_installed(entry: ModelEntry, installed: Collection[str] | None) -> None:
    if installed is None or entry.name in installed:
        return
    choices = ", ".join(sorted(installed)) or "none yet"
    raise BadInputError(
        "model_not_installed",
        f"The files of the model {entry.name!r} are not installed; `make weights MODEL={entry.name}` fetches "
        f"them. Installed: {choices}.",
    )
