"""`python -m worker.streamer`: looks at one live stream at a time. Photos never wait behind a camera."""

import sys
from types import FrameType

import redis

from shared.queue import Fleet, keys
from shared.queue.streams import StreamQueue
from shared.settings import Settings
from shared.streams import STREAM_FUNCTIONS
from worker.resident import ResidentWorker
from worker.start import run_worker
from worker.streams import LEAVE_SIGNAL


class Streamer(ResidentWorker):
    """A resident worker whose job never ends by itself: when it is told to stop, it hands the stream to another.

    Args:
        connection: a patient connection.
        settings: the settings.
        name: unique.
        setup: path of the function that loads the models in the horse and tells what to announce.
    """

    def __init__(
        self, connection: redis.Redis, settings: Settings, name: str, setup: str = "worker.streams.job.set_up"
    ) -> None:
        super().__init__(
            connection,
            settings,
            name,
            setup=setup,
            allowed=STREAM_FUNCTIONS,
            work=StreamQueue,
            fleet=Fleet(connection, keys.STREAMERS),
        )

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """As of every worker, and the horse writes down what it knows. DRAIN_TIMEOUT is how long it may take."""
        super().request_stop(signum, frame)
        if self._horse_pid:
            self._horse.signal(LEAVE_SIGNAL)


if __name__ == "__main__":
    sys.exit(run_worker(Streamer, "streamer-"))
