"""Two bars on the error stream, if it is a terminal: bytes sent, and files done."""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm


class Progress:
    """How far all files are. Any number of threads may report.

    Args:
        files: all of them.
        sending: whether they are sent anywhere.
    """

    def __init__(self, files: Sequence[Path], *, sending: bool = True) -> None:
        self._lock = threading.Lock()
        self._sizes = {path: _size(path) for path in files}
        self._sent: dict[Path, int] = {}
        self._work: dict[Path, float] = {}
        self._done = 0.0
        total = sum(self._sizes.values())
        # disable=None: only on a terminal
        self._bytes = tqdm(
            total=total, unit="B", unit_scale=True, unit_divisor=1024, desc="sent", disable=None if sending else True
        )
        self._files = tqdm(
            total=len(files), desc="done", disable=None, bar_format="{l_bar}{bar}| {n:.1f}/{total} files [{elapsed}]"
        )

    def sent(self, path: Path, sent: int) -> None:
        """So many bytes of a file are sent; less than before when it is sent again."""
        with self._lock:
            self._bytes.update(sent - self._sent.get(path, 0))
            self._sent[path] = sent

    def works(self, path: Path, share: float) -> None:
        """So much of the work on a file is done, from 0 to 1."""
        with self._lock:
            step = share - self._work.get(path, 0.0)
            if step > 0:
                self._done += step
                self._files.update(self._done - self._files.n)
                self._work[path] = share

    def done(self, path: Path) -> None:
        """A file is done, well or not."""
        self.sent(path, self._sizes.get(path, 0))
        self.works(path, 1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
        self._bytes.close()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
