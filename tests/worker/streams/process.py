"""A streamer whose model finds squares, as a process of its own."""

import os
from typing import Any

from shared import logs
from shared.catalog import CatalogReader
from shared.entries import DarknetEntry, WeightFile
from shared.jobs import JobOptions
from shared.queue import connect
from shared.results import ModelUsed
from shared.settings import Settings
from tests.worker.videos.synthetic import LABELS, find_squares
from worker.models.base import DetectionModel, Image, Outputs, Prepared
from worker.models.detections import Detections
from worker.streamer import Streamer
from worker.streams import job
from worker.streams.sources import Patience


class Squares(DetectionModel):
    """Finds squares; what it was given it keeps to itself."""

    labels = LABELS

    def __init__(self) -> None:
        file = WeightFile(name="x")
        super().__init__(
            DarknetEntry(name="squares", family="darknet", title="", config=file, weights=file, classes=file)
        )

    def info(self) -> ModelUsed:
        return ModelUsed(
            name="squares", family="test", engine="test", precision="f32", weights_sha256="0" * 64, input_size=(8, 8)
        )

    def preprocess(self, image: Image) -> Prepared:
        self._image = image
        return None  # type: ignore[return-value]

    def infer(self, prepared: Prepared) -> Outputs:  # noqa: ARG002
        return []

    def postprocess(self, outputs: Outputs, prepared: Prepared, **options: Any) -> Detections:  # noqa: ARG002
        return find_squares([self._image])[0]

    def understand(self, outputs: Outputs, prepared: Prepared, options: JobOptions) -> Detections:  # noqa: ARG002
        return self.postprocess(outputs, prepared)


class Models:
    """Instead of the cache."""

    resident = ("squares",)

    def __init__(self, _read: CatalogReader, _settings: Settings) -> None:
        self._model = Squares()

    def get(self, _name: str) -> Squares:
        return self._model


def set_up(settings: Settings) -> dict[str, Any]:
    vars(job)["ModelCache"] = Models
    connect(settings.redis_url, patient=True).rpush("test:set_up", os.getpid())
    return job.set_up(settings, Patience(connect=3, idle=3, first=3, longest_pause=1))


def main() -> None:
    settings = Settings()
    logs.configure(settings)
    connection = connect(settings.redis_url, patient=True)
    streamer = Streamer(connection, settings, f"streamer-{os.getpid()}", "tests.worker.streams.process.set_up")
    streamer.work(logging_level="WARNING")


if __name__ == "__main__":
    main()
