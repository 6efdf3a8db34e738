"""Whether a GIF, PNG or WebP has several frames, found out while its bytes go by: nothing is decoded or kept."""

from collections.abc import Generator
from typing import Final

#: what a reader asks for: so many bytes to look at, or with a minus so many to leap over
_Reader = Generator[int, bytes, bool]

#: bytes of a piece that a reader looks at; each wants far fewer
_MOST_WANTED: Final = 1024
#: answers that a reader gets. Files of 32 MB need a quarter of them; one of blocks of a byte would cost far more time
#: than it takes to send it, and is a photo then.
_MOST_ANSWERS: Final = 1_000_000


class Moving:
    """Looks at a file as it comes.

    Attributes:
        found: whether a second frame has been seen. One is enough to say that it moves.

    Args:
        reader: of the format.
    """

    def __init__(self, reader: _Reader) -> None:
        self.found = False
        self._reader: _Reader | None = reader
        self._wanted = 0
        self._leap = 0
        self._got = b""
        self._answers = 0
        self._ask(None)

    @classmethod
    def of(cls, content_type: str) -> "Moving | None":
        """One for that type; None if files of the type are not known to move."""
        readers = {"image/gif": _gif, "image/png": _png, "image/webp": _webp}
        return cls(readers[content_type]()) if content_type in readers else None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        at = 0
        while self._reader is not None and at < len(data):
            if self._leap:
                step = min(self._leap, len(data) - at)
                self._leap -= step
                at += step
                if not self._leap:
                    self._ask(b"")
                continue
            piece = data[at : at + self._wanted - len(self._got)]
            at += len(piece)
            self._got += piece
            if len(self._got) == self._wanted:
                got, self._got = self._got, b""
                self._ask(got)

    def _ask(self, answer: bytes | None) -> None:
        """Give the reader what it asked for, and have it ask for the next."""
        while self._reader is not None:
            try:
                asked = next(self._reader) if answer is None else self._reader.send(answer)
            except StopIteration as end:
                self.found = bool(end.value)
                self._reader = None
                return
            answer = b""
            self._answers += 1
            if self._answers > _MOST_ANSWERS:
                self._reader = None
                return
            if asked < 0:
                self._leap = -asked
                return
            if asked > 0:
                self._wanted = min(asked, _MOST_WANTED)
                return


def _gif() -> _Reader:
    """Its second image. What is outside blocks ends the search, as it ends decoders."""
    header = yield 13
    if header[10] & 0x80:
        yield -3 * 2 ** ((header[10] & 7) + 1)
    images = 0
    while True:
        kind = yield 1
        if kind == b"!":
            yield -1
        elif kind == b",":
            images += 1
            if images == 2:
                return True
            place = yield 9
            if place[8] & 0x80:
                yield -3 * 2 ** ((place[8] & 7) + 1)
            yield -1
        else:
            return False
        while (size := (yield 1)[0]) > 0:
            yield -size


def _png() -> _Reader:
    """Its `acTL` chunk, which has to come before the pixels."""
    yield -8
    while True:
        head = yield 8
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"acTL" and size >= 8:
            return int.from_bytes((yield 4), "big") > 1
        if kind in (b"IDAT", b"IEND"):
            return False
        yield -(size + 4)


def _webp() -> _Reader:
    """Its second `ANMF` chunk."""
    yield -12
    frames = 0
    while True:
        head = yield 8
        size, kind = int.from_bytes(head[4:], "little"), head[:4]
        if kind in (b"VP8 ", b"VP8L"):
            return False
        frames += kind == b"ANMF"
        if frames == 2:
            return True
        yield -(size + size % 2)
