"""Answers in the OpenAPI document that no model describes."""

from typing import Any, Final

#: the body of an error; by that name APIFlask describes HTTP_ERROR_SCHEMA
_ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPError"}}}

Answers = dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]


def answers(kinds: tuple[str, ...] | dict[str, Any], descriptions: dict[int, str]) -> Answers:
    """The answers of a path, for `@bp.doc(responses=...)`.

    Args:
        kinds: media types of the first; with their schema and example, if there is something to say of them.
        descriptions: status -> what it means.
    """
    found: Answers = {status: {"description": text} for status, text in descriptions.items()}
    for status, answer in found.items():
        if int(status) >= 400:
            answer["content"] = dict(_ERROR)
    first = next(iter(found.values()))
    first["content"] = kinds if isinstance(kinds, dict) else {kind: {} for kind in kinds}
    return found
