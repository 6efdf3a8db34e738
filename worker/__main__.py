"""`python -m worker`: one worker process with its resident horse."""

import logging
import os
import socket
import sys
import uuid

from shared import logs
from shared.queue import connect
from shared.settings import get_settings
from worker.resident import ResidentWorker


def main() -> int:
    """Run until told to stop. Returns the exit status."""
    settings = get_settings()
    logs.configure(settings)
    if not settings.redis_url:
        logging.error("REDIS_URL is not set: which Redis has the jobs?")
        return 2
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    worker = ResidentWorker(connect(settings.redis_url, patient=True), settings, name)
    worker.work(logging_level=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
