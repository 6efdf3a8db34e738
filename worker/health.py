"""`python -m worker.health [trainers|streamers]`: status 0 if such a worker (else a plain one) on this host is up."""

import socket
import sys

from shared.queue import Fleet, connect, keys
from shared.settings import get_settings


def main() -> int:
    """Ask Redis for the heartbeat of a worker of this host."""
    members = {"trainers": keys.TRAINERS, "streamers": keys.STREAMERS}.get("".join(sys.argv[1:]), keys.WORKERS)
    fleet = Fleet(connect(get_settings().redis_url, patient=False), members)
    return 0 if any(worker.host == socket.gethostname() and worker.ready for worker in fleet.workers()) else 1


if __name__ == "__main__":
    sys.exit(main())
