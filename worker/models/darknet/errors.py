"""What can be wrong with a Darknet model's files."""

from worker.models.errors import ModelFileError


class DarknetError(ModelFileError):
    """A `.cfg`, `.weights` or class list cannot be used. The message names the section, line or layer at fault."""
