"""`python -m worker.trainer`: one trainer with its resident horse."""

import importlib.util
import logging
import os
import socket
import sys
import uuid

from shared import logs
from shared.queue import Fleet, connect, keys
from shared.queue.trainings import TrainingQueue
from shared.settings import get_settings
from shared.trainings import TRAINING_FUNCTIONS
from worker.trainer.trainer import Trainer


def main() -> int:
    """Run until told to stop. Returns the exit status."""
    settings = get_settings()
    logs.configure(settings)
    if not settings.redis_url:
        logging.error("REDIS_URL is not set: which Redis has the trainings?")
        return 2
    if importlib.util.find_spec("tensorflow") is None:
        logging.error(
            "a trainer needs TensorFlow: `make run TRAINING=1`, or `pip install .[worker,tensorflow,training]`"
        )
        return 2
    name = f"trainer-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    connection = connect(settings.redis_url, patient=True)
    trainer = Trainer(
        connection,
        settings,
        name,
        setup="worker.trainer.job.set_up",
        allowed=TRAINING_FUNCTIONS,
        work=TrainingQueue,
        fleet=Fleet(connection, keys.TRAINERS),
    )
    trainer.work(logging_level=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
