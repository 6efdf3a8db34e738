"""What each server does with a photo: the same work by the same code on the same engine."""

import os
from typing import Any

from shared.catalog import load_catalog
from shared.jobs import JobOptions
from shared.settings import get_settings
from worker.findings import draw, findings_of
from worker.images import decode_image
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
        """The detections, and how large the drawn pictures are."""
        limits = self._settings
        image = decode_image(photo, max_pixels=limits.max_megapixels * 1_000_000, max_aspect=limits.max_aspect)
        prepared = self._model.preprocess(image.pixels)
        prediction = self._model.understand(self._model.infer(prepared), prepared, JobOptions())
        height, width = image.pixels.shape[:2]
        findings = findings_of(prediction, (height, width), 3)
        files = draw(image.pixels, findings, prediction)
        return {
            "text": findings.text,
            "detections": [found.model_dump(exclude_none=True) for found in findings.detections],
            "bytes": sum(len(file.data) for file in files),
        }
