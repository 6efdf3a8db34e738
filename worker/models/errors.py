"""What all families raise of a model's files."""


class ModelFileError(ValueError):
    """The files of a model are broken, of another network, or do not belong together. Says where and why."""
