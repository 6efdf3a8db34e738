"""What the blueprints work with, made once an app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from shared.catalog import Catalog, CatalogReader
from shared.queue import Fleet, JobQueue, Tally, connect, keys
from shared.queue.listing import Listing
from shared.queue.overview import Overview
from shared.queue.streams import StreamQueue
from shared.queue.trainings import TrainingQueue
from shared.safe_http import SafeClient
from shared.settings import Settings
from shared.storage import Storage, open_storage
from shared.trained import TrainedModels

EXTENSION = "dropsight"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the service that the web tier talks to. Nothing connects before it is used."""

    settings: Settings
    queue: JobQueue
    listing: Listing
    overview: Overview
    fleet: Fleet
    tally: Tally
    storage: Storage
    http: SafeClient
    reader: CatalogReader
    trained: TrainedModels
    trainings: TrainingQueue
    trainers: Fleet
    streams: StreamQueue
    streamers: Fleet

    @classmethod
    def open(cls, settings: Settings) -> "Services":
        """Make them from the settings."""
        connection = connect(settings.redis_url, patient=False)
        queue = JobQueue(connection, settings)
        storage = open_storage(settings)
        trained = TrainedModels(storage, connection)
        return cls(
            settings=settings,
            queue=queue,
            listing=Listing(queue),
            overview=Overview(queue, settings),
            fleet=Fleet(connection),
            tally=Tally(connection),
            storage=storage,
            http=SafeClient(),
            reader=CatalogReader(settings.catalog, settings.default_model, trained.entries),
            trained=trained,
            trainings=TrainingQueue(connection, settings),
            trainers=Fleet(connection, keys.TRAINERS),
            streams=StreamQueue(connection, settings),
            streamers=Fleet(connection, keys.STREAMERS),
        )

    def close(self) -> None:
        """Close the connections."""
        self.queue.redis.close()

    @property
    def catalog(self) -> Catalog:
        """The models there are now. Raises `PublicError("model_broken")`."""
        return self.reader.read()


def services() -> Services:
    """Those of the current app."""
    return cast(Services, current_app.extensions[EXTENSION])
