"""Training as a job: `python -m worker.trainer` takes trainings off their queue, and leaves models for everybody."""
