"""Pages of a video's `frames.jsonl`, without reading what comes before them."""

import io
import json
from typing import Final

from shared.storage import Stat, Storage
from shared.stored_file import StoredFile

#: bytes of a page; one frame more may come
_MOST_BYTES: Final = 4 * 1024 * 1024
#: what begins each line, before the frame's number
_BEFORE_INDEX: Final = b'{"index":'


class FrameLines:
    """The lines, each with the number of its frame, in rising order: so a page is found by halving.

    Args:
        storage: where they are.
        stat: of the object.

    Raises from its methods:
        MissingObjectError: it was deleted.
        PublicError: "storage_down".
    """

    def __init__(self, storage: Storage, stat: Stat) -> None:
        self._size = stat.size
        self._file = io.BufferedReader(StoredFile(storage, stat), StoredFile.PIECE)

    def page(self, start: int, limit: int) -> tuple[list[bytes], int | None]:
        """The lines of frames from number `start` on, and the number of the first frame after them, if there is one.

        Args:
            start: number in the original.
            limit: lines at most.
        """
        self._file.seek(self._offset_of(start))
        lines: list[bytes] = []
        size = 0
        while line := self._file.readline():
            if len(lines) == limit or size > _MOST_BYTES:
                return lines, _index(line)
            lines.append(line.rstrip(b"\n"))
            size += len(line)
        return lines, None

    def _offset_of(self, start: int) -> int:
        """Where the first line begins whose number is not below `start`."""
        low, high = 0, self._size  # the line that is wanted begins at `low` or after, and not after `high`
        while low < high:
            middle = (low + high) // 2
            begin, line = self._line_from(middle)
            if not line or _index(line) >= start:
                high = middle
            else:
                low = begin + len(line)
        return self._line_from(low)[0]

    def _line_from(self, offset: int) -> tuple[int, bytes]:
        """The first line that begins at `offset` or after, and where."""
        if offset > 0:
            self._file.seek(offset - 1)
            self._file.readline()  # the rest of the line before
        else:
            self._file.seek(0)
        return self._file.tell(), self._file.readline()


def _index(line: bytes) -> int:
    if line.startswith(_BEFORE_INDEX):
        return int(line[len(_BEFORE_INDEX) : line.index(b",")])
    return int(json.loads(line)["index"])
