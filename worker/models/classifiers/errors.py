"""What can be wrong with a classifier's files."""

from worker.models.errors import ModelFileError


class ClassifierError(ModelFileError):
    """A saved model, weights or class list cannot be used. The message says why."""
