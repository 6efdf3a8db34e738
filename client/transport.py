"""Requests that outlive a server that restarts, is busy or is away for a moment."""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from client.errors import ConnectionFailedError, ProtocolError, RefusedError, StoppedError
from client.multipart import MultipartFile

log = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 10.0
#: seconds without a byte of the answer, beside those that the server was asked to wait
READ_TIMEOUT: Final = 60.0
#: statuses that say "not now": busy (429), and a gateway or a server that restarts or lost a part
NOT_NOW: Final = frozenset({429, 502, 503, 504})
#: seconds before a request is made again: the first time and at most, each a little random
FIRST_PAUSE: Final = 0.3
LONGEST_PAUSE: Final = 8.0
#: connections that are kept open
POOL: Final = 32

T = TypeVar("T")

#: what a broken connection looks like; raised also while a body is read
BROKEN: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class _Key(AuthBase):
    """Sends the API key. Not a plain header: `requests` would put a password of ~/.netrc in its place."""

    def __init__(self, key: str) -> None:
        self._header = f"Bearer {key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class Transport:
    """HTTP to one server. For any number of threads: nothing in it changes once it is made.

    Args:
        server: URL of the service; http is meant where no scheme is said.
        api_key: None where none is asked for.
        patience: seconds over which a request that meets no server, or one that is busy, is made again.

    Raises:
        ValueError: `server` is no URL of a server, or the key cannot be one.
    """

    def __init__(self, server: str, api_key: str | None, patience: float) -> None:
        self.server = _checked(server)
        self.patience = patience
        self._stopped = threading.Event()
        self._session = session = requests.Session()
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # the one thing that answers would change
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=POOL)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        session.headers.update({"Accept": "application/json, */*;q=0.5", "User-Agent": "dropsight-client"})
        if api_key:
            if not api_key.isascii() or not api_key.isprintable():
                raise ValueError("The API key has letters that no key has.")
            session.auth = _Key(api_key)

    def stop(self) -> None:
        """Let no request begin or be tried again; what is under way ends with `StoppedError` or by itself."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and close all connections."""
        self.stop()
        self._session.close()

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Callable[[], MultipartFile] | None = None,
        wait: float = 0,
        patience: float | None = None,
        even_stopped: bool = False,
    ) -> dict[str, Any]:
        """Make a request whose answer is a JSON object.

        Args:
            method: of HTTP.
            path: on the server, with its leading slash.
            params: of the query.
            body: makes the body, anew for each attempt.
            wait: seconds that the server was asked to wait.
            patience: another than the client's.
            even_stopped: make it, once, also after `stop`.

        Raises:
            RefusedError: the server's answer is an error, and trying again did not help or makes no sense.
            ConnectionFailedError: there was no answer.
            ProtocolError: the answer is none of Dropsight's.
            StoppedError: `stop` was called.
        """

        def attempt() -> dict[str, Any]:
            content = body() if body is not None else None
            try:
                answer = self._session.request(
                    method,
                    self.server + path,
                    params=params,
                    data=content,
                    headers={"Content-Type": content.content_type} if content is not None else None,
                    timeout=(CONNECT_TIMEOUT, READ_TIMEOUT + wait),
                    allow_redirects=False,  # an upload would become a GET
                )
            finally:
                if content is not None:
                    content.close()
            _check(answer)
            return _document(answer)

        if even_stopped and self._stopped.is_set():
            return _translated(attempt, self.server)
        return self._again_and_again(attempt, self.patience if patience is None else patience)

    def download(self, path: str, write: Callable[[requests.Response], None]) -> None:
        """Get a file, wherever the server sends us for it.

        Args:
            path: on the server.
            write: takes the open answer; it is called anew for each attempt.

        Raises:
            As `json`.
        """

        def attempt() -> None:
            with self._session.get(self.server + path, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), stream=True) as answer:
                _check(answer)
                write(answer)

        self._again_and_again(attempt, self.patience)

    def pause(self, seconds: float) -> None:
        """Sleep. Raises `StoppedError` as soon as `stop` is called."""
        if self._stopped.wait(max(0.0, seconds)):
            raise StoppedError

    def _again_and_again(self, attempt: Callable[[], T], patience: float) -> T:
        end = time.monotonic() + patience
        pause = FIRST_PAUSE
        while True:
            self.pause(0)
            try:
                return _translated(attempt, self.server)
            except (RefusedError, ConnectionFailedError) as error:
                wanted = pause * random.uniform(0.7, 1.3)  # noqa: S311 - so that clients do not come back all at once
                if isinstance(error, RefusedError):
                    if error.status not in NOT_NOW:
                        raise
                    wanted = wanted if error.retry_after is None else error.retry_after + random.random() / 4  # noqa: S311
                elif isinstance(error.__cause__, (requests.exceptions.SSLError, requests.exceptions.ProxyError)):
                    raise  # the same tomorrow
                if time.monotonic() + wanted > end:
                    raise
                log.debug("%s; again in %.1f s", error, wanted)
            self.pause(wanted)
            pause = min(2 * pause, LONGEST_PAUSE)


def _translated(attempt: Callable[[], T], server: str) -> T:
    try:
        return attempt()
    except BROKEN as error:
        raise ConnectionFailedError(f"{server} does not answer: {_reason(error)}.") from error
    except requests.RequestException as error:
        raise ProtocolError(f"{server} cannot be talked to: {error}") from error


def _reason(error: Exception) -> str:
    """The innermost cause in words: what wraps it says the addresses of objects."""
    if isinstance(error, requests.Timeout):
        return "it takes too long"
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return str(getattr(seen, "strerror", None) or seen) or type(seen).__name__


def _check(answer: requests.Response) -> None:
    status = answer.status_code
    if 300 <= status < 400:
        raise ProtocolError(
            f"{urlsplit(answer.url).netloc} sends us to {answer.headers.get('Location', '?')!r}. Use that address."
        )
    if status < 400:
        return
    try:
        error = answer.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, LookupError, TypeError):
        code, message = f"http_{status}", f"The answer was {status} {answer.reason}."
    raise RefusedError(code, message, status, _retry_after(answer.headers.get("Retry-After")))


def _document(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProtocolError(f"What answers at {urlsplit(answer.url).netloc} does not seem to be Dropsight.")
    return found


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110): a number, or a date."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at - datetime.now(UTC)).total_seconds()) if at.tzinfo is not None else None


def _checked(server: str) -> str:
    url = server.strip()
    if "://" not in url:
        url = f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{server!r} is not the URL of a server; http://localhost:5000 is one.")
    _ = parts.port  # raises ValueError if it is no number
    return url.rstrip("/")
