"""Answers in the OpenAPI document that are no JSON."""

from typing import Any

Answers = dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]


def answers(kinds: tuple[str, ...], descriptions: dict[int, str]) -> Answers:
    """The answers of a path, for `@bp.doc(responses=...)`.

    Args:
        kinds: media types of the first.
        descriptions: status -> what it means.
    """
    found: Answers = {status: {"description": text} for status, text in descriptions.items()}
    first = next(iter(found.values()))
    first["content"] = {kind: {} for kind in kinds}
    return found
