"""What the OpenAPI document says beside the models: groups, keys, and answers that no model describes."""

from typing import Any, Final

from apiflask import APIFlask

#: the body of an error; by that name APIFlask describes HTTP_ERROR_SCHEMA
_ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPError"}}}

Answers = dict[int | str, dict[str, str | dict[str, dict[str, Any]]]]


def register(app: APIFlask) -> None:
    """Have the document made. Keys are in it where they are asked for; `web.access` comes first."""
    app.spec_processor(lambda document: _complete(document, keys=bool(app.extensions["dropsight.keys"])))


def _complete(document: dict[str, Any] | str, *, keys: bool) -> dict[str, Any] | str:
    """Name each group once, though several blueprints have it, and say how a key is sent: the page asks for one.

    With TAGS in the configuration the groups would have an order of our own, but APIFlask puts nothing into them.
    """
    if isinstance(document, str):  # as YAML, which is not what we give
        return document
    groups = dict.fromkeys(tag["name"] for tag in document["tags"])
    document = {**document, "tags": [{"name": name} for name in groups]}
    if not keys:
        return document
    document.setdefault("components", {})["securitySchemes"] = {"ApiKey": {"type": "http", "scheme": "bearer"}}
    return {**document, "security": [{"ApiKey": []}]}


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
