"""What the blueprints work with, made once an app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from shared.catalog import Catalog, load_catalog
from shared.queue import Fleet, JobQueue, Tally, connect
from shared.settings import Settings
from shared.storage import Storage, open_storage

EXTENSION = "dropsight"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the service that the web tier talks to. Nothing connects before it is used."""

    settings: Settings
    queue: JobQueue
    fleet: Fleet
    tally: Tally
    storage: Storage

    @classmethod
    def open(cls, settings: Settings) -> "Services":
        """Make them from the settings."""
        connection = connect(settings.redis_url, patient=False)
        return cls(
            settings=settings,
            queue=JobQueue(connection, settings),
            fleet=Fleet(connection),
            tally=Tally(connection),
            storage=open_storage(settings),
        )

    def close(self) -> None:
        """Close the connections."""
        self.queue.redis.close()

    @property
    def catalog(self) -> Catalog:
        """The catalogue as it is now: a person may add a model while the service runs."""
        return load_catalog(self.settings.catalog, self.settings.default_model)


def services() -> Services:
    """Those of the current app."""
    return cast(Services, current_app.extensions[EXTENSION])
