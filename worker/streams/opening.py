"""Connects to a stream, and gives FFmpeg its bytes without ever giving it an address.

HTTP and HLS are fetched by `shared.safe_http`, segment by segment, and read by FFmpeg as a file. RTSP is spoken by
FFmpeg over the loopback, through a relay that is connected to the address that was looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, urlsplit

import av
from av.container import InputContainer

from shared.errors import BadInputError
from shared.safe_http import SafeClient
from shared.stream_urls import StreamUrl
from worker.streams.playlist import SIGN
from worker.streams.relay import Relay
from worker.streams.sources import HlsSource, HttpSource, Patience, Source

#: FFmpeg's names of the containers that can be read while they come
_FORMATS: Final = (
    *("mpegts", "mpjpeg", "flv", "live_flv", "matroska", "webm", "ogg", "mpeg", "nut", "mjpeg", "h264", "hevc"),
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2"),
)
#: pictures one after the other, each with a head of its own: how cameras send them to browsers
_MULTIPART: Final = "multipart/x-mixed-replace"
_FIRST_PIECE: Final = 1 << 15
#: FFmpeg looks at so much of a stream, in microseconds and bytes, before it says what is in it
_PROBING: Final = {"analyzeduration": "3000000", "probesize": "2000000", "max_streams": "32"}


class Connecting:
    """A connection that can be ended from another thread at any moment, also while it is made.

    Args:
        url: where to.
        client: knows which addresses may be connected to.
        patience: how long is waited.
    """

    def __init__(self, url: StreamUrl, client: SafeClient, patience: Patience) -> None:
        self._url = url
        self._client = client
        self._patience = patience
        self._source: Source | Relay | None = None
        self._closed = False

    @contextmanager
    def open(self) -> Iterator[InputContainer]:
        """The stream, opened. It is closed at the end of the block.

        Raises:
            BadInputError: `url_refused`, `url_failed`; `bad_video`: it is nothing that can be decoded. The first two
                may also come while it is read.
        """
        container = self._open_rtsp() if self._url.is_rtsp else self._open_http()
        try:
            yield container
        finally:
            container.close()
            self.close()

    def close(self) -> None:
        """End it: whoever reads sees an end or an error."""
        self._closed = True
        if self._source is not None:
            self._source.close()

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end that its server means; one of RTSP never says so."""
        return self._source is not None and not isinstance(self._source, Relay) and self._source.is_over

    @property
    def error(self) -> BadInputError | None:
        """What the connection ended with, where FFmpeg does not say it."""
        return self._source.error if isinstance(self._source, Relay) else None

    def _keep(self, source: Source | Relay) -> None:
        self._source = source
        if self._closed:
            source.close()

    def _open_http(self) -> InputContainer:
        url = self._url
        answer = self._client.live(url.url, self._patience.connect, self._patience.idle, url.authorization)
        self._keep(HttpSource(answer, b""))
        begin = answer.read(_FIRST_PIECE)
        source: Source
        if begin.lstrip(b"\xef\xbb\xbf \r\n").startswith(SIGN):
            answer.close()
            source = HlsSource(self._client, answer.url, url.authorization, self._patience)
        else:
            source = HttpSource(answer, begin)
        self._keep(source)
        options = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none", **_PROBING}
        return self._opened(source, "mpjpeg" if answer.content_type == _MULTIPART else None, options)

    def _open_rtsp(self) -> InputContainer:
        url = self._url
        sock = self._client.connect(url.host, url.port, self._patience.connect, tls=url.scheme == "rtsps")
        relay = Relay(sock, self._patience.idle)
        self._keep(relay)
        parts = urlsplit(url.url)
        user = f"{quote(url.user, safe='')}:{quote(url.password, safe='')}@" if url.user else ""
        query = f"?{parts.query}" if parts.query else ""
        address = f"rtsp://{user}127.0.0.1:{relay.port}{parts.path}{query}"
        options = {"format_whitelist": "rtsp", "protocol_whitelist": "tcp,rtp", "rtsp_transport": "tcp", **_PROBING}
        return self._opened(address, "rtsp", options)

    def _opened(self, file: Source | str, kind: str | None, options: dict[str, str]) -> InputContainer:
        try:
            return av.open(
                file,
                mode="r",
                format=kind,
                options=options,
                metadata_errors="replace",
                timeout=(self._patience.connect + self._patience.idle, self._patience.idle)
                if isinstance(file, str)
                else None,
            )
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            found = self.error or (_network_error(error) if self._url.is_rtsp else None)
            raise found or BadInputError("bad_video", "This is not a stream that can be decoded.") from None


def _network_error(error: av.FFmpegError) -> BadInputError:
    """What RTSP was answered with. The message of FFmpeg may name the address with its password."""
    if isinstance(error, av.HTTPUnauthorizedError | av.HTTPForbiddenError):
        return BadInputError("url_failed", "The stream asks for another user and password.")
    if isinstance(error, av.HTTPNotFoundError):
        return BadInputError("url_failed", "There is no such stream at its server.")
    return BadInputError("url_failed", "The stream could not be opened.")
