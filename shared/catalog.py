"""The catalogue of models, `weights/catalog.toml`: which exist, where their files come from, how they are fed.

Both tiers read it: the web tier to check options and to name the choices, the worker to load. A person adds a
model by dropping files into the weights folder and an entry into the catalogue.
"""

import logging
import tomllib
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from shared.entries import AnyEntry
from shared.errors import BadInputError, PublicError

log = logging.getLogger(__name__)


class Catalog(BaseModel):
    """All models, and the one that is used when nobody asks for another.

    Attributes:
        default: its name.
        fallback: name of a model that ships with the project, used while the default is not installed; "": none.
        models: by name.
        trained: names of those that were trained here; every worker can have them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    fallback: str = ""
    models: dict[str, AnyEntry]
    trained: frozenset[str] = frozenset()

    def in_use(self, installed: Collection[str] | None) -> str:
        """Name of the model for those who ask for none.

        Args:
            installed: names of the models that can be run; None: nobody knows.
        """
        if installed is None or self.default in installed or self.fallback not in installed:
            return self.default
        return self.fallback

    def installed(self, weights_dir: Path) -> list[str]:
        """Names of the models whose files are all in a folder."""
        return [
            name for name, entry in self.models.items() if name in self.trained or not entry.missing_files(weights_dir)
        ]

    def __getitem__(self, name: str) -> AnyEntry:
        """The entry called `name`. Raises `BadInputError` ("unknown_model"), naming the choices."""
        try:
            return self.models[name]
        except KeyError:
            choices = ", ".join(sorted(self.models))
            raise BadInputError(
                "unknown_model", f"There is no model called {name!r}. Choose one of: {choices}."
            ) from None


def load_catalog(path: Path, default: str | None = None) -> Catalog:
    """Read and check a catalogue; the same object again for as long as the file does not change.

    Args:
        path: the TOML file: a `default = "name"` and a `[models.<name>]` table a model.
        default: another default than the file's.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not TOML, an entry is not valid, or the default is no entry.
    """
    stat = path.stat()
    return _parse(path, default, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _parse(path: Path, default: str | None, _modified_ns: int, _size: int) -> Catalog:
    # every upload and every heartbeat asks, and parsing takes longer than all else that an upload does
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    models = {name: {"name": name, **table} for name, table in document.get("models", {}).items()}
    names = {"default": default or document.get("default", ""), "fallback": document.get("fallback", "")}
    catalog = Catalog.model_validate({**names, "models": models})
    for role, name in names.items():
        if name not in catalog.models and not (role == "fallback" and name == ""):
            raise ValueError(f"the {role} model {name!r} is not in {path.name}: {', '.join(sorted(models))}")
    return catalog


class CatalogReader:
    """The catalogue as it is now: a person may edit it while the service runs.

    Args:
        path, default: as for `load_catalog`.
        trained: gives the entries of the models that were trained here. The file's own go before them.
    """

    def __init__(
        self,
        path: Path,
        default: str | None = None,
        trained: Callable[[], Mapping[str, AnyEntry]] = dict,
    ) -> None:
        self._path = path
        self._default = default
        self._trained = trained
        self._good: Catalog | None = None
        self._merged: tuple[Catalog, Mapping[str, AnyEntry], Catalog] | None = None

    def read(self, trained: Mapping[str, AnyEntry] | None = None) -> Catalog:
        """The catalogue with the models that were trained here.

        Args:
            trained: their entries, if the caller knows them already.

        Raises:
            PublicError: "model_broken": there is no catalogue.
        """
        own, trained = self.own(), self._trained() if trained is None else trained
        if not trained:
            return own
        # the same object for as long as nothing changes: it is asked for with every upload
        if self._merged is None or self._merged[0] is not own or self._merged[1] != trained:
            added = {name: entry for name, entry in trained.items() if name not in own.models}
            both = own.model_copy(update={"models": {**own.models, **added}, "trained": frozenset(added)})
            self._merged = (own, trained, both)
        return self._merged[2]

    def own(self) -> Catalog:
        """The catalogue's file; the last good one while the file cannot be used, for instance half-way through an edit.

        Raises:
            PublicError: "model_broken": there was no good one yet.
        """
        try:
            catalog = load_catalog(self._path, self._default)
        except (OSError, ValueError) as error:
            log.error("the catalogue %s cannot be used: %s", self._path, error)
            if self._good is None:
                raise PublicError("model_broken", "The catalogue of models cannot be read.") from error
            return self._good
        self._good = catalog
        return catalog
