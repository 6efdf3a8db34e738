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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
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
    """

    def __init__(
        self, allowed: Policy = is_public, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        self._allowed = allowed
        self._resolve = resolver
        self._tls = tls

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
        end = time.monotonic() + seconds
        for _ in range(MOST_REDIRECTS + 1):
            with _network_errors():
                sock, connection = self._connect(url, end)
            try:
                with _network_errors():
                    answer = _ask(connection, "GET", url)
                    location = answer.headers.get("Location") if answer.status in _REDIRECTS else None
                if location is not None:
                    url = urljoin(url, location)
                    continue
                if answer.status != HTTPStatus.OK:
                    raise BadInputError("url_failed", f"The URL was answered with status {answer.status}.")
                yield url, _pieces(answer)
                return
            finally:
                sock.close()
        raise BadInputError("url_failed", f"The URL was redirected more than {MOST_REDIRECTS} times.")

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> int:
        """Send something to a URL, and give its status. A redirect is not followed. Raises `BadInputError` as `get`."""
        with _network_errors():
            sock, connection = self._connect(url, time.monotonic() + seconds)
            with closing(sock):
                return _ask(connection, "POST", url, body, headers).status

    def _connect(self, url: str, end: float) -> tuple[socket.socket, http.client.HTTPConnection]:
        parts, host, port = checked_url(url)
        addresses = self._addresses(host, port)
        sock = _first_that_answers(addresses, port, end)
        # the name for the Host header only: the connection is there already
        connection = http.client.HTTPConnection(f"[{host}]" if ":" in host else host, port)
        try:
            if parts.scheme == "https":
                connection.default_port = _PORTS["https"]
                context = self._tls or ssl.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        connection.sock = cast(Any, _TimedSocket(sock, end))
        return sock, connection

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = list(dict.fromkeys(self._resolve(host, port)))
        except (OSError, UnicodeError):
            raise BadInputError("url_failed", "The name in the URL cannot be resolved.") from None
        if not found:
            raise BadInputError("url_failed", "The name in the URL has no address.")
        if not all(self._allowed(ip_address(address)) for address in found):
            raise BadInputError("url_refused", "The URL does not lead to a public address.")
        return found


def checked_url(url: str) -> tuple[SplitResult, str, int]:
    """The parts, host and port of a URL that may be looked at. Raises `BadInputError("url_refused")`."""
    if len(url) > LONGEST_URL or any(ord(sign) <= ord(" ") or ord(sign) == 0x7F for sign in url):
        raise BadInputError("url_refused", "This is no URL.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode() if ":" not in (parts.hostname or "") else parts.hostname
    except ValueError:
        raise BadInputError("url_refused", "This is no URL.") from None
    if parts.scheme not in _PORTS or not host or "%" in host:
        raise BadInputError("url_refused", "Only URLs that begin with http:// or https:// and a name are fetched.")
    if parts.username is not None or parts.password is not None:
        raise BadInputError("url_refused", "A URL with a password is not fetched.")
    port = _PORTS[parts.scheme] if port is None else port
    if port not in _PORTS.values() and port < _FIRST_FREE_PORT:
        raise BadInputError("url_refused", "The port of the URL is that of another service.")
    return parts, host, port


class _TimedSocket:
    """As much of a socket as `http.client` uses, with one end for all it does."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self._end = end

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._end))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._end), _PIECE)

    def close(self) -> None:
        """Left to the client: `http.client` closes this while its answer is still read."""


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401
        self._sock.settimeout(_left(self._end))
        return self._sock.recv_into(buffer)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _first_that_answers(addresses: list[str], port: int, end: float) -> socket.socket:
    last: OSError = TimeoutError()
    for address in addresses:
        try:
            # addresses only: nothing is resolved here
            return socket.create_connection((address, port), timeout=min(CONNECT_SECONDS, _left(end)))
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
