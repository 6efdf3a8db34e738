"""`python -m worker.health`: exit status 0 if the worker on this host is alive with its models loaded."""

import socket
import sys

from shared.queue import Fleet, connect
from shared.settings import get_settings


def main() -> int:
    """Ask Redis for the heartbeat of a worker of this host."""
    fleet = Fleet(connect(get_settings().redis_url, patient=False))
    return 0 if any(worker.host == socket.gethostname() and worker.ready for worker in fleet.workers()) else 1


if __name__ == "__main__":
    sys.exit(main())
