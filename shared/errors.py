"""Public errors: a stable machine-readable code, a sentence for people, and the HTTP status that says it.

Every error a client can meet is a `PublicError`; its code is one of `CODES`. Whatever else is raised is a
fault of ours and becomes `internal` at the boundary (web: the error handler, worker: the pipeline).
"""

from http import HTTPStatus
from typing import Final

#: code -> HTTP status. The documented list (docs/errors.md is checked against it by a test).
CODES: Final[dict[str, HTTPStatus]] = {
    # the request
    "bad_request": HTTPStatus.BAD_REQUEST,
    "no_file": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "cross_origin": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "conflict": HTTPStatus.CONFLICT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "invalid_option": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unknown_model": HTTPStatus.UNPROCESSABLE_ENTITY,
    "model_not_installed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "url_refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "url_failed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_slow": HTTPStatus.REQUEST_TIMEOUT,
    "queue_full": HTTPStatus.TOO_MANY_REQUESTS,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    # the file, found out by the worker: never retried
    "bad_image": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_many_pixels": HTTPStatus.UNPROCESSABLE_ENTITY,
    "bad_aspect": HTTPStatus.UNPROCESSABLE_ENTITY,
    "bad_video": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no_video_stream": HTTPStatus.UNPROCESSABLE_ENTITY,
    "no_frames": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_long": HTTPStatus.UNPROCESSABLE_ENTITY,
    "input_gone": HTTPStatus.GONE,
    # the data set, found out by the trainer: never retried
    "bad_dataset": HTTPStatus.UNPROCESSABLE_ENTITY,
    "training_failed": HTTPStatus.UNPROCESSABLE_ENTITY,
    # the client's own deadline
    "expired": HTTPStatus.GATEWAY_TIMEOUT,
    # ours
    "timeout": HTTPStatus.INTERNAL_SERVER_ERROR,
    "crashed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "out_of_memory": HTTPStatus.INTERNAL_SERVER_ERROR,
    "model_broken": HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "queue_down": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage_down": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage_full": HTTPStatus.INSUFFICIENT_STORAGE,
    "not_ready": HTTPStatus.SERVICE_UNAVAILABLE,
}


class PublicError(Exception):
    """An error whose code and message may be shown to anybody.

    Args:
        code: a key of `CODES`.
        message: a plain sentence; holds nothing secret and no path of the server.
        retry_after: seconds after which trying again makes sense, if it does.
    """

    def __init__(self, code: str, message: str, *, retry_after: int | None = None) -> None:
        self.status = CODES[code]
        self.code = code
        self.message = message
        self.retry_after = retry_after
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class BadInputError(PublicError):
    """The client's fault: the file or the options. Trying again gives the same: never retried."""


class TransientError(PublicError):
    """A part of the service is away for now (Redis, storage): worth trying again, never charged to a job."""
