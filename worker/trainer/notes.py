"""What a training warns of, for the person who started it: the log alone would tell the operator only."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


@contextmanager
def warnings_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass on what `worker.training` warns of within."""
    teller = _Teller(tell)
    logger = logging.getLogger("worker.training")
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)
