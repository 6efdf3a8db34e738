"""What is raised when a data set cannot be used."""


class DatasetError(ValueError):
    """A data set cannot be read or trained on. The message names the file at fault and is for the one who made it."""
