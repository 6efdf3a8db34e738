"""How soon a sender wants its jobs done, and to be told: `priority`, `cancel_after`, `Cancel-After`, `webhook`."""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from flask import Request
from pydantic import Field

from shared.errors import BadInputError
from shared.jobs import Priority
from shared.safe_http import checked_url
from shared.settings import DAY, Settings
from web.forms import Form

LONGEST: Final = 30 * DAY


class TermFields(Form):
    """The fields of an upload's form."""

    priority: Literal["", "interactive", "bulk"] = Field(
        "", description="bulk waits behind interactive; empty: bulk if the request makes more jobs than BULK_FILES"
    )
    cancel_after: int | None = Field(
        None,
        ge=1,
        le=LONGEST,
        description="seconds until a job that is not finished fails as `expired`; also as a header `Cancel-After`",
    )
    webhook: str = Field(
        "", description="URL that is told when the job has ended, if the server allows it (`ALLOW_WEBHOOKS`)"
    )


class Terms(NamedTuple):
    """What of it goes with each job."""

    priority: Priority
    deadline: datetime | None
    webhook: str | None


def wanted_terms(request: Request, form: TermFields, jobs: int, settings: Settings) -> Terms:
    """What the sender wants of a request that makes so many jobs.

    Raises:
        BadInputError: the header is no number of seconds; "url_refused": the webhook is off, or no URL.
    """
    seconds = form.cancel_after if form.cancel_after is not None else _header(request)
    by_number = Priority.BULK if jobs > settings.bulk_files else Priority.INTERACTIVE
    return Terms(
        priority=Priority(form.priority) if form.priority else by_number,
        deadline=None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds),
        webhook=_webhook(form.webhook.strip(), settings),
    )


def _webhook(url: str, settings: Settings) -> str | None:
    if not url:
        return None
    if not settings.allow_webhooks or not settings.webhook_secrets:
        raise BadInputError("url_refused", "This server sends no webhooks to others: ALLOW_WEBHOOKS is off.")
    checked_url(url)  # where it leads to is looked at when it is sent
    return url


def _header(request: Request) -> int | None:
    value = request.headers.get("Cancel-After")
    if value is None:
        return None
    if value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= LONGEST:
        return int(value)
    raise BadInputError("invalid_option", f"Cancel-After: a whole number of seconds from 1 to {LONGEST} is wanted.")
