"""What the server's answers say, as far as this client uses it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from client.errors import ProtocolError

_Document = TypeVar("_Document", bound=BaseModel)


class Model(BaseModel):
    """A model of the service's catalogue."""

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    task: str = "detection"
    default: bool
    installed: bool
    classes: list[str]


class Limits(BaseModel):
    """What the service takes."""

    model_config = ConfigDict(frozen=True)

    max_upload_mb: int
    max_files: int
    types: list[str]


class Models(BaseModel):
    """What `GET /models` says, as far as this client uses it."""

    model_config = ConfigDict(frozen=True)

    default: str
    models: list[Model]
    limits: Limits


def parsed(kind: type[_Document], answer: Mapping[str, Any]) -> _Document:
    """The document, without what a newer server may have added to it."""
    try:
        return kind.model_validate(answer, extra="ignore")
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ProtocolError(
            f"The server's answer is none that this client knows ({place}: {first['msg']}). Is one of them newer?"
        ) from error
