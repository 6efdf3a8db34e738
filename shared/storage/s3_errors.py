"""What a server that speaks S3 says went wrong, in public words."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import urllib3.exceptions
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own, and no OSError
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)

from shared.errors import PublicError, TransientError

log = logging.getLogger(__name__)

#: codes of an object that is not there
NO_OBJECT: Final = {"404", "NoSuchKey", "NotFound"}
_FULL: Final = {
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "XRGWQuotaExceeded",
}
_BUSY: Final = {
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}


def code_of(error: ClientError) -> str:
    """The code that the server named; boto3 puts the HTTP status there if the answer had no body, as that of a HEAD."""
    return str(error.response.get("Error", {}).get("Code", "?"))


def status_of(error: ClientError) -> int:
    """The HTTP status; 0 without one."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def public_errors() -> Iterator[None]:
    """Turns what boto3 raises into errors that anybody may see; the log has the S3 code, never a key."""
    try:
        yield
    except ClientError as error:
        code, status, what = code_of(error), status_of(error), error.operation_name
        if code in _FULL or status == HTTPStatus.INSUFFICIENT_STORAGE:
            log.error("S3 %s: %s (%s)", what, code, status)
            raise PublicError("storage_full", "The storage is full.") from error
        if code in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            log.warning("S3 %s: %s (%s)", what, code, status)
            raise TransientError("storage_down", "The storage is busy.", retry_after=5) from error
        log.error("S3 %s: %s (%s): check the bucket, the region and the credentials", what, code, status)
        raise PublicError("storage_down", "The storage is not set up correctly.") from error
    except (
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
        ResponseStreamingError,
        urllib3.exceptions.HTTPError,
        OSError,
    ) as error:
        log.warning("S3: %s", type(error).__name__)
        raise TransientError("storage_down", "The storage cannot be reached.", retry_after=5) from error
    except BotoCoreError as error:  # no credentials, a bad endpoint
        log.error("S3: %s: check the S3 settings and the credentials", type(error).__name__)
        raise PublicError("storage_down", "The storage is not set up correctly.") from error
