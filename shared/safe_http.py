"""HTTP to addresses that somebody else names: only to public ones, and to the very address that was looked at.

A name is resolved once; all its addresses must be allowed, and one of them is connected to. So a name that changes its
address between the look and the connection (DNS rebinding) gains nothing. Each redirect is looked at anew. Proxies of
the environment are not used, because they would resolve the name themselves.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, cast
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from shared.errors import BadInputError

Address = IPv4Address | IPv6Address
Policy = Callable[[Address], bool]
Resolver = Callable[[str, int], list[str]]

MOST_REDIRECTS: Final = 3
LONGEST_URL: Final = 2048
#: seconds to connect to one address
CONNECT_SECONDS: Final = 5.0
_PIECE: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_FIRST_FREE_PORT: Final = 1024
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_USER_AGENT: Final = "dropsight"
_IN_QUERY: Final = "/?%:@!$&'()*+,;=~-._[]{}|"
#: networks that (some versions of) Python count as global, but which lead elsewhere
_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata among them
        "192.88.99.0/24",  # relays of 6to4
        "168.63.129.16/32",  # platform services of a cloud, behind a public address
        "::/96",  # addresses of IPv4 in old clothes,
        "64:ff9b::/96",  # NAT64,
        "64:ff9b:1::/48",  # the same, local,
        "2001::/23",  # Teredo and other protocols,
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
    )
)


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: not private, loopback, link-local, multicast or reserved."""
    if isinstance(address, IPv6Address) and (mapped := address.ipv4_mapped) is not None:
        address = mapped
    if any(address.version == network.version and address in network for network in _NEVER):
        return False
    return address.is_global and not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or (isinstance(address, IPv6Address) and address.is_site_local)
    )


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the order in which they are to be tried."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class SafeClient:
    """Sends requests to URLs of others.

    Args:
        allowed: which addresses may be connected to.
        resolver: how a name becomes addresses.
        tls: for https.
        trusted: names that may lead to any address: somebody who may decide it has listed them.
    """

    def __init__(
        self,
        allowed: Policy = is_public,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        trusted: Collection[str] = (),
    ) -> None:
        self._allowed = allowed
        self._resolve = resolver
        self._tls = tls
        self._trusted = frozenset(trusted)

    @contextmanager
    def get(self, url: str, seconds: float) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Open a URL, following redirects.

        Args:
            url: http or https.
            seconds: for all of it, also when the other side drips.

        Yields:
            The last URL and the content, in pieces.

        Raises:
            BadInputError: "url_refused", "url_failed"; the latter also while the pieces are read.
        """
        url, sock, answer = self._open(url, _Clock(seconds), {})
        with closing(sock):
            yield url, _pieces(answer)

    def live(self, url: str, seconds: float, idle: float, headers: Mapping[str, str] | None = None) -> "LiveAnswer":
        """Open a URL whose content may come for ever.

        Args:
            url: http or https.
            seconds: until it begins.
            idle: for which nothing may come, from then on.
            headers: for the first address alone: where it is redirected to does not get them.

        Raises:
            BadInputError: "url_refused", "url_failed".
        """
        clock = _Clock(seconds)
        found, sock, answer = self._open(url, clock, headers or {})
        clock.idle = idle
        return LiveAnswer(found, sock, answer)

    def connect(self, host: str, port: int, seconds: float, *, tls: bool = False) -> socket.socket:
        """Connect to a host, for another protocol than HTTP. Raises `BadInputError` as `get`."""
        addresses = self.addresses(host, port)
        with _network_errors():
            return self._dial(addresses, host, port, _Clock(seconds), tls=tls)

    def _open(
        self, url: str, clock: "_Clock", headers: Mapping[str, str]
    ) -> tuple[str, socket.socket, http.client.HTTPResponse]:
        for _ in range(MOST_REDIRECTS + 1):
            with _network_errors():
                sock, connection = self._connect(url, clock)
            try:
                with _network_errors():
                    answer = _ask(connection, "GET", url, headers=headers)
                    location = answer.headers.get("Location") if answer.status in _REDIRECTS else None
                if location is None and answer.status != HTTPStatus.OK:
                    raise BadInputError("url_failed", f"The URL was answered with status {answer.status}.")
            except BaseException:
                sock.close()
                raise
            if location is None:
                return url, sock, answer
            sock.close()
            url, headers = urljoin(url, location), {}
        raise BadInputError("url_failed", f"The URL was redirected more than {MOST_REDIRECTS} times.")

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> int:
        """Send something to a URL, and give its status. A redirect is not followed. Raises `BadInputError` as `get`."""
        with _network_errors():
            sock, connection = self._connect(url, _Clock(seconds))
            with closing(sock):
                return _ask(connection, "POST", url, body, headers).status

    def _connect(self, url: str, clock: "_Clock") -> tuple[socket.socket, http.client.HTTPConnection]:
        parts, host, port = checked_url(url)
        addresses = self.addresses(host, port)
        # the name for the Host header only: the connection is there already
        connection = http.client.HTTPConnection(f"[{host}]" if ":" in host else host, port)
        if parts.scheme == "https":
            connection.default_port = _PORTS["https"]
        sock = self._dial(addresses, host, port, clock, tls=parts.scheme == "https")
        connection.sock = cast(Any, _TimedSocket(sock, clock))
        return sock, connection

    def _dial(self, addresses: list[str], host: str, port: int, clock: "_Clock", *, tls: bool) -> socket.socket:
        sock = _first_that_answers(addresses, port, clock)
        if not tls:
            return sock
        try:
            return (self._tls or ssl.create_default_context()).wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise

    def addresses(self, host: str, port: int) -> list[str]:
        """Where a name leads to, if all of it may be connected to. Raises `BadInputError` as `get`."""
        try:
            found = list(dict.fromkeys(self._resolve(host, port)))
        except (OSError, UnicodeError):
            raise BadInputError("url_failed", "The name in the URL cannot be resolved.") from None
        if not found:
            raise BadInputError("url_failed", "The name in the URL has no address.")
        if host not in self._trusted and not all(self._allowed(ip_address(address)) for address in found):
            raise BadInputError("url_refused", "The URL does not lead to a public address.")
        return found


class LiveAnswer:
    """Content that comes for ever, or until it is closed."""

    def __init__(self, url: str, sock: socket.socket, answer: http.client.HTTPResponse) -> None:
        self.url = url
        self.content_type = answer.headers.get_content_type()
        self._sock = sock
        self._answer = answer

    def read(self, most: int) -> bytes:
        """What has come, at least a byte and at most so many; none at the end. Raises `BadInputError("url_failed")`."""
        with _network_errors():
            return self._answer.read1(most)

    @property
    def is_whole(self) -> bool:
        """Whether there was an end that was known from the beginning, and all has come."""
        return self._answer.length == 0

    def close(self) -> None:
        """End it, and a `read` that another thread waits in."""
        hang_up(self._sock)


def hang_up(sock: socket.socket) -> None:
    """Close a connection, and end what another thread waits for on it."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def checked_url(url: str, ports: Mapping[str, int] = _PORTS) -> tuple[SplitResult, str, int]:
    """The parts, host and port of a URL that may be looked at.

    Args:
        url: what somebody has sent.
        ports: schemes that are taken -> the port of each.

    Raises:
        BadInputError: "url_refused".
    """
    if len(url) > LONGEST_URL or any(ord(sign) <= ord(" ") or ord(sign) == 0x7F for sign in url):
        raise BadInputError("url_refused", "This is no URL.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if ":" not in (parts.hostname or "") else parts.hostname
    except ValueError:
        raise BadInputError("url_refused", "This is no URL.") from None
    if parts.scheme not in ports or not host or "%" in host:
        schemes = " or ".join(f"{scheme}://" for scheme in ports)
        raise BadInputError("url_refused", f"Only URLs that begin with {schemes} and a name are fetched.")
    if parts.username is not None or parts.password is not None:
        raise BadInputError("url_refused", "A URL with a password is not fetched.")
    port = ports[parts.scheme] if port is None else port
    if port not in ports.values() and port < _FIRST_FREE_PORT:
        raise BadInputError("url_refused", "The port of the URL is that of another service.")
    return parts, host, port


class _Clock:
    """How long the next step may take: all steps together have one end, until `idle` is set for each of them."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.idle: float | None = None

    def left(self) -> float:
        """Seconds. Raises `TimeoutError`."""
        left = self._end - time.monotonic() if self.idle is None else self.idle
        if left <= 0:
            raise TimeoutError
        return left


class _TimedSocket:
    """As much of a socket as `http.client` uses, with one end for all it does."""

    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock = sock
        self._clock = clock

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._clock), _PIECE)

    def close(self) -> None:
        """Left to the client: `http.client` closes this while its answer is still read."""


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, clock: _Clock) -> None:
        self._sock = sock
        self._clock = clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401
        self._sock.settimeout(self._clock.left())
        return self._sock.recv_into(buffer)


def _first_that_answers(addresses: list[str], port: int, clock: _Clock) -> socket.socket:
    last: OSError = TimeoutError()
    for address in addresses:
        try:
            # addresses only: nothing is resolved here
            return socket.create_connection((address, port), timeout=min(CONNECT_SECONDS, clock.left()))
        except OSError as error:
            last = error
    raise last


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = f"?{quote(parts.query, safe=_IN_QUERY)}" if parts.query else ""
    sent = {"Accept-Encoding": "identity", "User-Agent": _USER_AGENT, "Connection": "close", **(headers or {})}
    connection.request(method, path + query, body, sent)
    return connection.getresponse()


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    with _network_errors():
        while piece := answer.read1(_PIECE):
            yield piece
        if answer.length:  # closed before all had come
            raise http.client.IncompleteRead(b"", answer.length)


@contextmanager
def _network_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise BadInputError("url_failed", "The URL was not answered in time.") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise BadInputError("url_failed", "The URL could not be fetched.") from None
