"""`python -m worker.streamer`: looks at one live stream at a time. Photos never wait behind a camera."""

import logging
import os
import socket
import sys
import uuid
from types import FrameType

from shared import logs
from shared.queue import Fleet, connect, keys
from shared.queue.streams import StreamQueue
from shared.settings import get_settings
from shared.streams import STREAM_FUNCTIONS
from worker.resident import ResidentWorker
from worker.streams import LEAVE_SIGNAL


class Streamer(ResidentWorker):
    """A resident worker whose job never ends by itself: when it is told to stop, it hands the stream to another."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """As of every worker, and the horse writes down what it knows. DRAIN_TIMEOUT is how long it may take."""
        super().request_stop(signum, frame)
        if self._horse_pid:
            self._signal_horse(self._horse_pid, LEAVE_SIGNAL)


def main() -> int:
    """Run until told to stop. Returns the exit status."""
    settings = get_settings()
    logs.configure(settings)
    if not settings.redis_url:
        logging.error("REDIS_URL is not set: which Redis has the streams?")
        return 2
    connection = connect(settings.redis_url, patient=True)
    worker = Streamer(
        connection,
        settings,
        f"streamer-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        setup="worker.streams.job.set_up",
        allowed=STREAM_FUNCTIONS,
        work=StreamQueue,
        fleet=Fleet(connection, keys.STREAMERS),
    )
    worker.work(logging_level=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
