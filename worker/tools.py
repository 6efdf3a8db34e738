"""What every job of a worker's process uses."""

from dataclasses import dataclass
from typing import Any

from shared.queue import JobQueue, Tally
from shared.settings import Settings
from shared.storage import Storage
from worker.models.registry import ModelCache


@dataclass(frozen=True, slots=True)
class Tools:
    """Connections, models and settings."""

    settings: Settings
    storage: Storage
    models: ModelCache
    jobs: JobQueue
    tally: Tally
    about: dict[str, Any]
    """what the worker announces of itself"""
