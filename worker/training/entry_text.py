"""The entry that puts a trained model into the catalogue, as text."""

import json
from pathlib import Path
from typing import Final

from shared.entries import ModelEntry, WeightFile
from worker.models.files import file_sha256

#: what every entry of a trained model says, also where it is the default
ALWAYS: Final = ("family", "title")


def entry_text(folder: Path, entry: ModelEntry) -> str:
    """The entry for `weights/catalog.toml`; sizes and hashes are those of the files in `folder`.

    Args:
        folder: has the files of the model.
        entry: names them. What is as by default is left out.
    """
    values = {name: getattr(entry, name) for name in type(entry).model_fields if name != "name"}
    files = {name: value for name, value in values.items() if isinstance(value, WeightFile)}
    said = entry.model_dump(mode="json", exclude_defaults=True, exclude={"name", *files})
    said |= {name: values[name] for name in ALWAYS}
    lines = [f"[models.{_toml(entry.name)}]"]
    lines += [f"{name} = {_toml(said[name])}" for name in values if name in said]
    for key, file in files.items():
        path = folder / file.name
        lines += [
            "",
            f"[models.{_toml(entry.name)}.{key}]",
            f"name = {_toml(path.name)}",
            f"size = {path.stat().st_size}",
            f'sha256 = "{file_sha256(path)}"',
        ]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Strings, numbers and lists of them are the same in JSON and TOML, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
