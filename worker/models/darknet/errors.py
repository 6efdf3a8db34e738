"""What can be wrong with a model's files."""


class DarknetError(ValueError):
    """A `.cfg`, `.weights` or class list cannot be used. The message names the section, line or layer at fault."""
