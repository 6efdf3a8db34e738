"""An end for bodies that come too slowly, so that a client who sends a byte now and then holds nothing for long."""

import io
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from gevent import Timeout
from gevent.monkey import is_module_patched

from shared.errors import PublicError
from shared.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: bytes asked for at once: the server below gives nothing back before it has them all
_PIECE: Final = 32 * 1024


class SlowBodies:
    """WSGI middleware that gives every body `upload_timeout` seconds, and a second more for `min_upload_rate` bytes.

    Args:
        app: what is called.
        settings: for both limits.
    """

    def __init__(self, app: "WSGIApplication", settings: Settings) -> None:
        self._app = app
        self._settings = settings

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        settings = self._settings
        body = TimedBody(
            environ["wsgi.input"], settings.upload_timeout, settings.min_upload_rate, most=settings.orphan_ttl / 2
        )
        # buffered, so that each read gives all that is asked for: Werkzeug takes a shorter one for a broken form
        environ["wsgi.input"] = io.BufferedReader(body, _PIECE)
        return self._app(environ, start_response)


class TimedBody(io.RawIOBase):
    """A request's body that raises `PublicError("too_slow")` when its time is over.

    Args:
        stream: the server's.
        seconds: beside those for what has come.
        rate: bytes a second.
        most: seconds after which it is over at any rate. The first files of a request belong to no job before its last
            one has come, and the janitor removes what has belonged to none for long.
        clock: for tests.
    """

    def __init__(
        self,
        stream: Any,  # noqa: ANN401
        seconds: float,
        rate: float,
        most: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._rate = rate
        self._clock = clock
        begin = clock()
        self._end = begin + seconds
        self._last = begin + most
        self._piece = max(1024, min(_PIECE, int(rate * seconds / 2)))

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401
        """Read some bytes, no more than the server can have before the time is over at the least rate."""
        left = min(self._end, self._last) - self._clock()
        if left <= 0:
            raise _too_slow()
        with _at_most(left):
            data: bytes = self._stream.read(min(len(buffer), self._piece))
        self._end += len(data) / self._rate
        buffer[: len(data)] = data
        return len(data)


def _too_slow() -> PublicError:
    return PublicError("too_slow", "The body came too slowly. Try again over a better connection.")


def _at_most(seconds: float) -> AbstractContextManager[object]:
    # An exception and no silent timeout: the server below then knows that this connection cannot be used again.
    return Timeout(seconds, _too_slow()) if is_module_patched("socket") else nullcontext()
