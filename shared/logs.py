"""What is written to the log: lines of text or of JSON, each with the job and the request that it is about.

Which those are is said once, where a request or a job begins (`about`); every line from there on carries them,
also those of libraries. Each thread and each greenlet has its own.
"""

import json
import logging
import logging.config
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal

from shared.settings import Settings

Format = Literal["text", "json"]

request_id: Final[ContextVar[str | None]] = ContextVar("dropsight_request_id", default=None)
job_id: Final[ContextVar[str | None]] = ContextVar("dropsight_job_id", default=None)

#: the attribute of a record that holds further fields: `log.info("…", extra={FIELDS: {"status": 200}})`
FIELDS: Final = "dropsight_fields"
_SANE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
#: a line a job is enough, and the pipeline writes it
_QUIET: Final = ("rq.worker", "botocore", "boto3", "urllib3")


def new_request_id() -> str:
    """An id for a request that brought none."""
    return secrets.token_hex(8)


def sane_request_id(sent: str | None) -> str | None:
    """The id that a client or a proxy sent, if it is fit for logs, headers and pages."""
    return sent if sent is not None and _SANE.fullmatch(sent) else None


@contextmanager
def about(*, job: str | None, request: str | None) -> Iterator[None]:
    """All lines inside are about this job, and the request that brought it."""
    tokens = job_id.set(job), request_id.set(request)
    try:
        yield
    finally:
        job_id.reset(tokens[0])
        request_id.reset(tokens[1])


def configure(settings: Settings) -> None:
    """Set up the log of this process."""
    logging.config.dictConfig(config(settings.log_format))


def config(form: Format) -> dict[str, Any]:
    """The set-up, as `logging.config.dictConfig` takes it: everything to standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"dropsight": {"()": JsonFormatter if form == "json" else TextFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "dropsight"}},
        "root": {"level": "INFO", "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": "WARNING"} for name in _QUIET},
            # gunicorn gives it a handler of its own; with this it has none
            "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        },
    }


def _known() -> dict[str, str]:
    found = {"job_id": job_id.get(), "request_id": request_id.get()}
    return {name: value for name, value in found.items() if value is not None}


class TextFormatter(logging.Formatter):
    """A line for people. What clients send cannot begin a line of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line, without what follows of a traceback."""
        line = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().formatMessage(record))
        known = " ".join(f"{name}={value}" for name, value in _known().items())
        return line.replace("\n", "\n  ") + (f" [{known}]" if known else "")


class JsonFormatter(logging.Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **_known(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)
