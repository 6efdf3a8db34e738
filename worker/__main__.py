"""`python -m worker`: one worker process with its resident horse."""

import sys

from worker.resident import ResidentWorker
from worker.start import run_worker

if __name__ == "__main__":
    sys.exit(run_worker(ResidentWorker))
