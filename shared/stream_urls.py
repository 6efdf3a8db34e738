"""Which URLs a stream may come from: public ones as for `url=`, and those that the operator has listed.

FFmpeg never resolves a name and never opens an address by itself: `worker/streams/opening.py` says how.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from shared.safe_http import Address, Resolver, SafeClient, checked_url, is_public, resolve

#: schemes of streams -> the port of each
PORTS: Final = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """A URL in its parts.

    Args:
        url: without user and password.
        scheme: one of `PORTS`.
        host: name or address, without brackets.
        port: given, or that of the scheme.
        user: empty if there is none.
        password: of the user.
    """

    url: str
    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    @property
    def public(self) -> str:
        """What may be shown and logged: a query may hold a token."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    @property
    def authorization(self) -> dict[str, str]:
        """The header that says who asks, for HTTP."""
        if not self.user and not self.password:
            return {}
        pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    @property
    def is_rtsp(self) -> bool:
        """Whether it is spoken RTSP to."""
        return self.scheme in ("rtsp", "rtsps")


def parse_stream_url(url: str) -> StreamUrl:
    """The parts of a URL that a stream may have. Raises `BadInputError("url_refused")`."""
    bare, user, password = _without_user(url.strip())
    parts, host, port = checked_url(bare, PORTS)
    return StreamUrl(bare, parts.scheme, host, port, user, password)


def _without_user(url: str) -> tuple[str, str, str]:
    """The URL without what stands before the last @ of its authority. What is no URL stays as it is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, "", ""
    user, found, host = parts.netloc.rpartition("@")
    if not found:
        return url, "", ""
    name, _, password = user.partition(":")
    bare = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return bare, unquote(name), unquote(password)


def parse_hosts(listed: str) -> tuple[frozenset[str], tuple[Network, ...]]:
    """STREAM_HOSTS as names and networks. Raises `ValueError` for an entry that is neither."""
    names: set[str] = set()
    networks: list[Network] = []
    for entry in filter(None, map(str.strip, listed.split(","))):
        try:
            networks.append(ip_network(entry))
        except ValueError:
            if "/" in entry or ":" in entry or not entry.strip("."):
                raise ValueError(f"STREAM_HOSTS: {entry!r} is neither a name nor a network.") from None
            names.add(entry.lower())
    return frozenset(names), tuple(networks)


def stream_client(listed: str, resolver: Resolver = resolve) -> SafeClient:
    """A client that connects to public addresses and to those that STREAM_HOSTS lists."""
    names, networks = parse_hosts(listed)
    return SafeClient(lambda address: is_public(address) or _within(address, networks), resolver, trusted=names)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    if isinstance(address, IPv6Address) and (mapped := address.ipv4_mapped) is not None:
        return any(mapped in network for network in networks if network.version == 4)
    return any(address in network for network in networks if network.version == address.version)
