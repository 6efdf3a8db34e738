"""The boundary where every exception becomes `{"error": {"code", "message"}}`, or a page for a browser."""

import logging
from http import HTTPStatus
from typing import Any

from apiflask import APIFlask, HTTPError
from flask import Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from shared.errors import CODES, PublicError
from web.access_log import note_error
from web.incoming import drain_body

log = logging.getLogger(__name__)

_HTTP_CODES = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "unsupported_type",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid_option",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limited",
}


def register(app: APIFlask) -> None:
    """Have the app answer every error in public words."""
    app.register_error_handler(PublicError, _public)
    app.register_error_handler(HTTPError, _validation)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def wants_html() -> bool:
    """Whether the client is a browser looking for a page. `curl` sends `*/*`."""
    return "text/html" in request.headers.get("Accept", "")


def _public(error: PublicError) -> Response:
    return _answer(error.code, error.message, error.status, retry_after=error.retry_after)


def _validation(error: HTTPError) -> Response:
    fields: dict[str, list[str]] = {}
    for location in (error.detail or {}).values():
        fields |= location
    message = (
        "; ".join(f"{name}: {', '.join(reasons)}" for name, reasons in fields.items())
        or error.message
        or "The request is not valid."
    )
    return _answer("invalid_option", message, HTTPStatus.UNPROCESSABLE_ENTITY)


def _http(error: HTTPException) -> Response:
    status = HTTPStatus(error.code or 500)
    if 300 <= status < 400:
        return error.get_response()  # type: ignore[return-value]
    code = _HTTP_CODES.get(status, "bad_request" if status < 500 else "internal")
    response = _answer(code, error.description or status.phrase, status)
    for name, value in error.get_headers(request.environ):
        if name in ("Allow", "Content-Range", "Retry-After"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _answer("internal", "Something went wrong on our side.", CODES["internal"])


def _answer(code: str, message: str, status: HTTPStatus, retry_after: int | None = None) -> Response:
    drain_body(request)
    note_error(code)
    body: Any = {"error": {"code": code, "message": message}}
    if wants_html():
        response = make_response(render_template("error.html", code=code, message=message, status=int(status)))
    else:
        response = jsonify(body)
    response.status_code = int(status)
    if status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="dropsight"'
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
