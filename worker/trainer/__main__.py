"""`python -m worker.trainer`: one trainer with its resident horse."""

import importlib.util
import logging
import sys

from shared import logs
from shared.settings import get_settings
from worker.start import run_worker
from worker.trainer.trainer import Trainer


def main() -> int:
    """Run until told to stop. Returns the exit status."""
    if importlib.util.find_spec("tensorflow") is None:
        logs.configure(get_settings())
        logging.error(
            "a trainer needs TensorFlow: `make run TRAINING=1`, or `pip install .[worker,tensorflow,training]`"
        )
        return 2
    return run_worker(Trainer, "trainer-")


if __name__ == "__main__":
    sys.exit(main())
