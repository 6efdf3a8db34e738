"""What is raised when a training run cannot begin or go on."""


class TrainingError(Exception):
    """The message is for the person who started the run."""
