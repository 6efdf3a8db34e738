"""What can be wrong with the files of a Mask R-CNN."""

from worker.models.errors import ModelFileError


class MaskRcnnError(ModelFileError):
    """A weight file or class list cannot be used. The message names the layer at fault."""
