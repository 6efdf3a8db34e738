"""RTSP for FFmpeg through a connection of our own: it sees the loopback only, and is led nowhere else.

FFmpeg speaks RTSP well, with its many codecs, but it resolves names by itself and follows redirects to wherever they
lead. So it is given an address on this machine, behind which a thread passes bytes to and from the address that was
looked at. Replies that redirect end the connection. Media come over the same connection (interleaved), so that
nothing else is ever opened.
"""

import select
import socket
import threading
from typing import Final

from shared.errors import BadInputError
from shared.safe_http import hang_up

_PIECE: Final = 1 << 16
#: seconds in which FFmpeg must come
_ACCEPT: Final = 10.0
#: bytes of the head of an RTSP message
_LONGEST_HEAD: Final = 1 << 16
_FRAME: Final = ord("$")


class Relay:
    """Passes bytes between FFmpeg and a server.

    Args:
        server: a connection.
        idle: seconds for which the server may be silent.
    """

    def __init__(self, server: socket.socket, idle: float) -> None:
        self._server = server
        self._idle = idle
        self._client: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(_ACCEPT)
        self.port: int = self._listener.getsockname()[1]
        #: why it ended, if the server is to blame
        self.error: BadInputError | None = None
        self._thread = threading.Thread(target=self._run, name="rtsp-relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End both connections."""
        hang_up(self._listener)
        hang_up(self._server)
        if self._client is not None:
            hang_up(self._client)
        self._thread.join(5)

    def _run(self) -> None:
        try:
            try:
                self._client, _ = self._listener.accept()
            finally:
                self._listener.close()
            self._pass(self._client)
        except BadInputError as error:
            self.error = error
        except (OSError, ValueError):  # closed, from either side
            pass
        finally:
            hang_up(self._server)
            if self._client is not None:
                hang_up(self._client)

    def _pass(self, client: socket.socket) -> None:
        self._server.settimeout(self._idle)
        client.settimeout(self._idle)
        messages = Messages()
        while True:
            # what TLS has decrypted already is not seen by select
            pending = getattr(self._server, "pending", int)()
            ready = [self._server] if pending else select.select([self._server, client], [], [], self._idle)[0]
            if not ready:
                raise BadInputError("url_failed", "The stream has fallen silent.")
            if client in ready:
                data = client.recv(_PIECE)
                if not data:
                    return
                self._server.sendall(data)
            if self._server in ready:
                data = self._server.recv(_PIECE)
                if not data:
                    return
                client.sendall(messages.add(data))


class Messages:
    """Looks at what a server sends: frames of media as they are, messages only when they are known to be harmless."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._left = 0

    def add(self, data: bytes) -> bytes:
        """Take what has come; gives what may be passed on.

        Raises:
            BadInputError: `url_refused`: the server redirects; `url_failed`: it does not speak RTSP.
        """
        self._waiting += data
        passed = bytearray()
        while self._waiting:
            if not self._left:
                self._left = self._next_length()
                if not self._left:
                    break
            piece = self._waiting[: self._left]
            del self._waiting[: len(piece)]
            self._left -= len(piece)
            passed += piece
        return bytes(passed)

    def _next_length(self) -> int:
        """Bytes of the frame or message that begins here; 0 while that cannot be said."""
        waiting = self._waiting
        if waiting[0] == _FRAME:
            return 4 + int.from_bytes(waiting[2:4], "big") if len(waiting) >= 4 else 0
        end = waiting.find(b"\r\n\r\n")
        if end < 0:
            if len(waiting) > _LONGEST_HEAD:
                raise BadInputError("url_failed", "The server of the stream does not speak RTSP.")
            return 0
        first, *lines = bytes(waiting[:end]).decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        if (version.startswith("RTSP/") and status.lstrip().startswith("3")) or version.upper() == "REDIRECT":
            raise BadInputError("url_refused", "The server of the stream leads to another address.")
        if "RTSP/" not in first:
            raise BadInputError("url_failed", "The server of the stream does not speak RTSP.")
        length = 0
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-length" and value.strip().isdecimal():
                length = int(value)
        return end + 4 + length
