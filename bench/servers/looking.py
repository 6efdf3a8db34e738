"""What each server does with a photo: the same work by the same code on the same engine."""

import os
from typing import Any

from shared.catalog import load_catalog
from shared.jobs import InputFile, JobOptions, new_job_id
from shared.settings import get_settings
from worker.clock import PhaseClock
from worker.images import decode_image
from worker.looking import look
from worker.models.registry import ModelCache


class Looker:
    """The model in memory.

    Decodes, detects, draws and encodes; unlike ours, these servers keep nothing, so nothing is stored.
    """

    def __init__(self) -> None:
        settings = get_settings()
        catalog = load_catalog(settings.catalog, settings.default_model)
        self._settings = settings
        self._model = ModelCache(lambda: catalog, settings).get(os.environ.get("BENCH_MODEL") or catalog.default)

    def look(self, photo: bytes) -> dict[str, Any]:
        """The result document, and how large its files are."""
        limits, clock = self._settings, PhaseClock()
        image = decode_image(photo, max_pixels=limits.max_megapixels * 1_000_000, max_aspect=limits.max_aspect)
        file = InputFile(key="", filename="photo.jpg", content_type="image/jpeg", bytes=len(photo), sha256="")
        seen = look(image, file, self._model, JobOptions(), clock)
        return {
            "result": seen.result(new_job_id(), clock.started_at, clock).model_dump(mode="json"),
            "files": [len(file.data) for file in seen.files],
        }
