"""Files of a run that others may read or copy at any moment, or find after a crash."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives where to write what takes the place of `path` at the end of the block, whole, or after an error not at all.

    It has the same ending: Keras goes by that.
    """
    scratch = path.with_name(f"{path.stem}.new{path.suffix}")
    yield scratch
    scratch.replace(path)
