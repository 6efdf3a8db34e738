"""`python -m worker.health [streamers]`: exit status 0 if the worker (or streamer) on this host is alive and ready."""

import socket
import sys

from shared.queue import Fleet, connect, keys
from shared.settings import get_settings


def main() -> int:
    """Ask Redis for the heartbeat of a worker of this host."""
    members = keys.STREAMERS if "streamers" in sys.argv[1:] else keys.WORKERS
    fleet = Fleet(connect(get_settings().redis_url, patient=False), members)
    return 0 if any(worker.host == socket.gethostname() and worker.ready for worker in fleet.workers()) else 1


if __name__ == "__main__":
    sys.exit(main())
