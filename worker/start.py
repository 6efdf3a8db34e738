"""How the processes begin that take jobs off a queue: `python -m worker`, `worker.streamer`, `worker.trainer`."""

import logging
import os
import socket
import uuid
from typing import Protocol

import redis

from shared import logs
from shared.queue import connect, is_refused
from shared.settings import Settings, get_settings
from worker.resident import ResidentWorker


class MakeWorker(Protocol):
    """What makes the worker of a process: a class or a function."""

    def __call__(self, connection: redis.Redis, settings: Settings, name: str) -> ResidentWorker:
        """A worker of that name."""


def run_worker(make: MakeWorker, role: str = "") -> int:
    """Run a worker until it is told to stop.

    Args:
        make: makes it, with a patient connection.
        role: what its unique name begins with.

    Returns:
        The exit status.
    """
    settings = get_settings()
    logs.configure(settings)
    if not settings.redis_url:
        logging.error("REDIS_URL is not set: which Redis has the jobs?")
        return 2
    if is_refused(settings.redis_url):  # to be patient would be to be silent, for 20 minutes
        return 1
    name = f"{role}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    make(connect(settings.redis_url, patient=True), settings, name).work(logging_level=None)
    return 0
