"""What all forms have in common: how they are described, and what a field that was sent empty means."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


def _plain(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Describe fields as a form can send them: there is no null in a form, and a page would fill it in as a text.

    What only this form has comes first: the file is what one looks for.
    """
    fields: dict[str, dict[str, Any]] = schema["properties"]
    for name, field in fields.items():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            fields[name] = kinds[0] | {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    own = [name for name in fields if name in model.__annotations__]
    schema["properties"] = {name: fields[name] for name in [*own, *fields]}


class Form(BaseModel):
    """A form. Sent empty is an empty text, None for a field that may be None, and any other as if it were not sent."""

    model_config = ConfigDict(json_schema_extra=_plain)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_no_number(cls, values: Any) -> Any:  # noqa: ANN401
        kept = {}
        for name, value in dict(values).items():
            default = cls.model_fields[name].default if name in cls.model_fields else ""
            if value != "" or default is None or isinstance(default, str):
                kept[name] = None if value == "" and default is None else value
        return kept
