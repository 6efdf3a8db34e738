"""What can go wrong, as a caller sees it. Each is a `DropsightError` whose text is a sentence for people."""

from http import HTTPStatus

from shared.errors import CODES


class DropsightError(Exception):
    """Any error of this package.

    Attributes:
        code: stable and machine-readable: the server's (docs/errors.md), or one of this package.
        message: a plain sentence.
    """

    code = "client_error"

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class ConnectionFailedError(DropsightError):
    """The server cannot be reached, or the connection broke again and again."""

    code = "connection_failed"


class ProtocolError(DropsightError):
    """What answers is no Dropsight, or speaks in a way that this client does not know."""

    code = "protocol_error"


class StoppedError(DropsightError):
    """The client was closed while it did something, or the caller's own function raised this to end it."""

    code = "stopped"

    def __init__(self, message: str = "The client was stopped.") -> None:
        super().__init__(message)


class UnreadableFileError(DropsightError):
    """A file on this machine cannot be read, or changed while it was sent."""

    code = "unreadable_file"


class WaitTimeoutError(DropsightError, TimeoutError):
    """The job has not ended within the caller's time. It goes on; one may wait again."""

    code = "wait_timeout"


class RefusedError(DropsightError):
    """The server's error document.

    Attributes:
        code: for instance "too_large"; `http_<status>` if something in between answered with none of ours.
        status: the HTTP status.
        retry_after: seconds after which trying again makes sense, if the server says so.
    """

    def __init__(self, code: str, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after = retry_after


class JobFailedError(DropsightError):
    """The job has failed.

    Attributes:
        code: why, for instance "bad_image".
        status: the HTTP status that goes with the code.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = int(CODES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR))


class JobCanceledError(DropsightError):
    """The job was canceled, by this client or by somebody else."""

    code = "canceled"
