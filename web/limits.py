"""How much one client may ask for. A client is an API key, or else an address."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, cast

from apiflask import APIFlask
from flask import Response, g, request
from limits import parse_many

from shared.queue import queue_errors
from shared.queue.rates import Allowance, Rate, Rates
from shared.settings import Settings
from web.access import owner
from web.choosing import Models
from web.services import services

#: what brings files: there must be room in the queue before a body is read
BRINGS_FILES: Final = frozenset({"uploads.upload", "again.again"})
#: what is counted: work is made by uploads, and a sign-in is where keys could be tried
LIMITED: Final = BRINGS_FILES | {"trainings.create", "streams.create", "access.sign_in"}
#: an IPv6 customer has a network of this size at least
_V6_NETWORK: Final = 64


def register(app: APIFlask, settings: Settings) -> None:
    """Count the requests of each client in our Redis. Raises `ValueError` for a RATE_LIMIT that is none."""
    rates = None if settings.rate_limit == "off" else _rates(settings.rate_limit)
    app.before_request(lambda: _look(rates))
    app.after_request(_add_headers)


def _rates(limit: str) -> Rates:
    try:
        parsed = parse_many(limit)
    except ValueError:
        raise ValueError(f"RATE_LIMIT={limit!r} is none; 600/minute is.") from None
    return Rates([Rate(item.amount, item.get_expiry()) for item in parsed])


def _look(rates: Rates | None) -> None:
    """Refuse what is one too many, and files that there is no room for, before the body is read.

    All that Redis is asked for then is asked in one round trip.
    """
    brings_files = request.endpoint in BRINGS_FILES
    if request.endpoint not in LIMITED or request.method != "POST" or not (rates or brings_files):
        return
    parts, name = services(), client()
    room = parts.queue.room
    with queue_errors():
        pipe = parts.queue.redis.pipeline(transaction=False)
        if rates:
            rates.hit(name, request.endpoint, pipe)
        if brings_files:
            room.ask(name, pipe)
            Models.ask(parts, pipe)
        replies = iter(pipe.execute())
    if rates:
        g.allowance = rates.read(replies)
        g.allowance.check()
    if brings_files:
        room.check(1, name, room.read(name, replies))
        g.models = Models.read(parts, replies)


def _add_headers(response: Response) -> Response:
    allowance = cast(Allowance | None, g.get("allowance"))
    if allowance is not None:
        response.headers["X-RateLimit-Limit"] = str(allowance.rate.amount)
        response.headers["X-RateLimit-Remaining"] = str(allowance.remaining)
        response.headers["X-RateLimit-Reset"] = str(allowance.reset)
    return response


def client() -> str:
    """The name of the key, or the address: of IPv6 its network, which one person has to themselves."""
    name = owner()
    return _of_address(request.remote_addr or "") if name is None else f"key:{name}"


@lru_cache(maxsize=1024)
def _of_address(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return f"address:{address}"  # a Unix socket
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return f"address:{parsed.ipv4_mapped}"
        network = int(parsed) >> (128 - _V6_NETWORK) << (128 - _V6_NETWORK)
        return f"address:{IPv6Address(network)}/{_V6_NETWORK}"
    return f"address:{parsed}"
