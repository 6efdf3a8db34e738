"""Ids in paths."""

import re

from shared.errors import PublicError

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def checked_id(job_id: str) -> str:
    """The id, if it can be one. Raises `PublicError("not_found")`: nothing else is ever looked up anywhere."""
    if _ID.fullmatch(job_id) is None:
        raise PublicError("not_found", "There is no such job.")
    return job_id
