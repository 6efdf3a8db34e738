"""Which pages may use the service: ours. Pages of others may not change anything, nor read, unless CORS_ORIGINS says.

A browser sends `Sec-Fetch-Site` to secure origins and to this machine, and `Origin` with whatever is no GET. A client
that sends neither is no browser, and carries nobody's cookie.
"""

import re
from http import HTTPStatus
from typing import Final

from apiflask import APIFlask
from flask import Response, current_app, request

from shared.errors import PublicError
from shared.settings import Settings

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS: Final = "GET, HEAD, POST, DELETE"
_SENT_HEADERS: Final = "Authorization, Content-Type, Prefer, X-Api-Key, X-Request-Id"
_SHOWN_HEADERS: Final = "Location, Preference-Applied, Retry-After, X-Request-Id"
_PREFLIGHT_SECONDS: Final = 600
_PORTS: Final = {"http": 80, "https": 443}
_PORT: Final = re.compile(r":\d+$", re.ASCII)
#: always ours, so that health checks need no setting
_OWN_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")


def register(app: APIFlask, settings: Settings) -> None:
    """Have the app refuse the pages of others."""
    allowed = frozenset(origin.rstrip("/").lower() for origin in listed(settings.cors_origins))
    hosts = [host.lower() for host in listed(settings.allowed_hosts)]
    if hosts:
        app.before_request(lambda: _need_host((*hosts, *_OWN_HOSTS)))
    app.before_request(lambda: _guard(allowed))
    if allowed:
        app.after_request(lambda response: _allow(response, allowed))


def listed(text: str) -> list[str]:
    """The parts of a setting that is a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _need_host(hosts: tuple[str, ...]) -> None:
    """Against DNS rebinding: a stranger's page is of our origin if the stranger's name leads here."""
    # Werkzeug's TRUSTED_HOSTS would do, but for IPv6
    host = _PORT.sub("", request.host.lower())
    if not any(host == known or (known.startswith(".") and f".{host}".endswith(known)) for known in hosts):
        raise PublicError("bad_request", "This service is not known by that name; ALLOWED_HOSTS says which it has.")


def _guard(allowed: frozenset[str]) -> Response | None:
    origin = request.headers.get("Origin", "")
    if origin.lower() in allowed:
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight()
        return None
    if request.method not in SAFE and not _is_ours(origin):
        raise PublicError("cross_origin", "The page of another site may not change anything here.")
    return None


def _is_ours(origin: str) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    # The scheme does not count: behind a proxy that ends TLS we do not know ours.
    scheme, _, place = origin.lower().partition("://")
    port = _PORTS.get(scheme)
    return not origin or (port is not None and _with_port(place, port) == _with_port(request.host.lower(), port))


def _with_port(place: str, port: int) -> str:
    return place if _PORT.search(place) else f"{place}:{port}"


def _preflight() -> Response:
    response = current_app.response_class(status=HTTPStatus.NO_CONTENT)
    response.headers["Access-Control-Allow-Methods"] = _METHODS
    response.headers["Access-Control-Allow-Headers"] = _SENT_HEADERS
    response.headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return response


def _allow(response: Response, allowed: frozenset[str]) -> Response:
    """No credentials: the cookie is for our own page; others send a key."""
    response.vary.add("Origin")
    origin = request.headers.get("Origin", "")
    if origin.lower() in allowed:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = _SHOWN_HEADERS
    return response
