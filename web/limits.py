"""How much one client may ask for. A client is an API key, or else an address."""

from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Final

from apiflask import APIFlask
from flask import Response, current_app, g, request
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter
from limits import parse_many
from limits.errors import StorageError

from shared.errors import TransientError
from shared.queue import queue_errors
from shared.settings import Settings
from web.access import owner
from web.choosing import Models
from web.services import Services
from web.services import services as current_services

#: what makes jobs wait: there must be room in the queue before a body is read
BRINGS_JOBS: Final = frozenset({"uploads.upload", "again.again", "retrying.retry"})
#: what is counted: work is made by uploads, and a sign-in is where keys could be tried
LIMITED: Final = BRINGS_JOBS | {"trainings.create", "streams.create", "access.sign_in"}
#: an IPv6 customer has a network of this size at least
_V6_NETWORK: Final = 64


def register(app: APIFlask, settings: Settings, services: Services) -> None:
    """Count the requests of each client in our Redis, and look for room for the jobs that they bring.

    Raises `ValueError` for a RATE_LIMIT that is none.
    """
    if settings.rate_limit != "off":
        _count(app, settings, services)
    app.before_request(_look_for_room)


def _count(app: APIFlask, settings: Settings, services: Services) -> None:
    try:
        parse_many(settings.rate_limit)
    except ValueError:
        raise ValueError(f"RATE_LIMIT={settings.rate_limit!r} is none; 600/minute is.") from None
    app.after_request(_no_retry_of_what_is_done)  # the limiter's own comes before: the last registered is the first
    limiter = Limiter(
        client,
        app=app,
        default_limits=[settings.rate_limit],
        storage_uri="redis://",
        storage_options={
            "connection_pool": services.queue.redis.connection_pool,  # type: ignore[dict-item]
            "key_prefix": "dropsight:limits",
            "wrap_exceptions": True,
        },
        strategy="sliding-window-counter",
        headers_enabled=True,
    )
    limiter.request_filter(lambda: request.endpoint not in LIMITED or request.method != "POST")
    app.register_error_handler(StorageError, _redis_away)


def _no_retry_of_what_is_done(response: Response) -> Response:
    """The limiter says at every answer when its count begins anew; to come again is for those who were sent away."""
    if response.status_code not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response.headers.pop("Retry-After", None)
    return response


def _look_for_room() -> None:
    """Refuse jobs that there is no room for, before the body is read. What is asked of Redis is one round trip."""
    if request.endpoint not in BRINGS_JOBS or request.method != "POST":
        return
    parts, name = current_services(), client()
    room = parts.queue.room
    with queue_errors():
        pipe = parts.queue.redis.pipeline(transaction=False)
        room.ask(name, pipe)
        Models.ask(parts, pipe)
        replies = iter(pipe.execute())
    room.check(1, name, room.read(name, replies))
    g.models = Models.read(parts, replies)


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


def _redis_away(_error: StorageError) -> ResponseReturnValue:
    away = TransientError("queue_down", "The queue cannot be reached at the moment.", retry_after=5)
    return current_app.handle_user_exception(away)
