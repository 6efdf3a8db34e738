"""`url=` of an upload: a photo that is fetched instead of sent. Off unless ALLOW_URL_INPUT."""

from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from flask import g

from shared.errors import BadInputError
from web.incoming import IncomingFile
from web.services import services

LONGEST_NAME: Final = 255


def fetch(url: str) -> IncomingFile:
    """Bring the file behind a URL into storage, as if it had been sent.

    Raises:
        BadInputError: "url_refused", "url_failed", "too_large", "unsupported_type".
    """
    parts = services()
    if not parts.settings.allow_url_input:
        raise BadInputError("url_refused", "This server fetches nothing: ALLOW_URL_INPUT is off.")
    with parts.http.get(url.strip(), parts.settings.url_timeout) as (found, pieces):
        file = IncomingFile(_name_of(found))
        g.setdefault("incoming", []).append(file)  # deleted at the end of the request, unless it becomes a job's
        for piece in pieces:
            file.write(piece)
        file.seek(0)
    return file


def _name_of(url: str) -> str:
    parts = urlsplit(url)
    return unquote(PurePosixPath(parts.path).name)[:LONGEST_NAME] or (parts.hostname or "")
