"""Where the bytes of a stream come from over HTTP: FFmpeg reads them as a file and knows no address."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from shared.errors import BadInputError
from shared.safe_http import LiveAnswer, SafeClient
from worker.streams.playlist import Media, parse

#: segments before the newest one with which a live playlist is begun
_BEHIND: Final = 3
_LARGEST_PLAYLIST: Final = 1 << 20
#: a playlist names another, and that a third; more is no playlist
_MOST_LISTS: Final = 3
_PIECE: Final = 1 << 16


class Source(Protocol):
    """A file that may have no end."""

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end that its server means."""

    def read(self, most: int) -> bytes:
        """What has come, at most so many bytes; none at the end."""

    def close(self) -> None:
        """End it, and a `read` that another thread waits in."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds.

    Args:
        connect: for a connection and the first bytes.
        idle: for which nothing may come.
        first: in which a stream must have been connected to once, with all attempts.
        longest_pause: between two attempts.
    """

    connect: float = 10.0
    idle: float = 15.0
    first: float = 60.0
    longest_pause: float = 30.0


class HttpSource:
    """The body of one answer.

    Args:
        answer: that has begun.
        begin: its first bytes, read already.
    """

    def __init__(self, answer: LiveAnswer, begin: bytes) -> None:
        self._answer = answer
        self._begin = begin

    @property
    def is_over(self) -> bool:
        """As `Source`."""
        return self._answer.is_whole

    def read(self, most: int) -> bytes:
        """As `Source`."""
        if self._begin:
            piece, self._begin = self._begin[:most], self._begin[most:]
            return piece
        return self._answer.read(most)

    def close(self) -> None:
        """As `Source`."""
        self._answer.close()


class HlsSource:
    """The segments of an HLS stream, one after the other, as one file.

    Every URL that a playlist names is opened by the safe client.

    Args:
        client: opens them.
        url: of the playlist.
        headers: sent to the host of the playlist and to no other.
        patience: how long is waited.
    """

    def __init__(self, client: SafeClient, url: str, headers: Mapping[str, str], patience: Patience) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._origin = _origin(url)
        self._patience = patience
        self._closed = threading.Event()
        self._answer: LiveAnswer | None = None
        self._waiting: list[str] = []
        self._next: int | None = None
        self._header: str | None = None
        self._ended = False

    @property
    def is_over(self) -> bool:
        """As `Source`."""
        return self._ended and not self._waiting and self._answer is None

    def read(self, most: int) -> bytes:
        """As `Source`."""
        while not self._closed.is_set():
            if self._answer is not None:
                piece = self._answer.read(most)
                if piece:
                    return piece
                self._answer.close()
                self._answer = None
            if not self._waiting:
                self._wait_for_segments()
            if not self._waiting:
                return b""
            self._answer = self._open(self._waiting.pop(0))
            if self._closed.is_set():  # while it was opened
                self._answer.close()
        return b""

    def close(self) -> None:
        """As `Source`."""
        self._closed.set()
        if (answer := self._answer) is not None:
            answer.close()

    def _wait_for_segments(self) -> None:
        begin = time.monotonic()
        while not self._ended and not self._closed.is_set():
            media = self._fetch_playlist()
            self._add(media)
            self._ended = media.ended
            if self._waiting:
                return
            if time.monotonic() - begin > max(self._patience.idle, 2 * media.target):
                raise BadInputError("url_failed", "The playlist of the stream names nothing new.")
            self._closed.wait(media.target / 2)

    def _add(self, media: Media) -> None:
        last = media.sequence + len(media.segments)
        if self._next is None:
            first = media.sequence if media.ended else max(media.sequence, last - _BEHIND)
        elif last < self._next - _BEHIND:  # it counts anew
            first = max(media.sequence, last - _BEHIND)
        else:
            first = max(media.sequence, self._next)
        fresh = list(media.segments[first - media.sequence :])
        if not fresh:
            return
        if media.header is not None and media.header != self._header:
            fresh.insert(0, media.header)
        self._header = media.header
        self._waiting += fresh
        self._next = last

    def _fetch_playlist(self) -> Media:
        for _ in range(_MOST_LISTS):
            found = parse(self._text(self._url), self._url)
            if isinstance(found, Media):
                return found
            self._url = found
        raise BadInputError("bad_video", "The playlist of the stream leads to playlists only.")

    def _text(self, url: str) -> str:
        answer = self._open(url)
        try:
            data = bytearray()
            while piece := answer.read(_PIECE):
                data += piece
                if len(data) > _LARGEST_PLAYLIST:
                    raise BadInputError("bad_video", "The playlist of the stream is too large.")
            return data.decode(errors="replace")
        finally:
            answer.close()

    def _open(self, url: str) -> LiveAnswer:
        headers = self._headers if _origin(url) == self._origin else {}
        return self._client.live(url, self._patience.connect, self._patience.idle, headers)


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.lower()
