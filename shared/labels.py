"""The names of a model's classes, from the file that comes with it."""

import json
from pathlib import Path


def read_labels(path: Path) -> tuple[str, ...]:
    """The class names in a file, in the order of the class ids.

    Args:
        path: a text file with one name a line (empty lines at the end do not count), or a `.json` file: a list of
            names, or an object of ids and names, or Keras' ImageNet index, an object of ids and [WordNet id, name].

    Raises:
        ValueError: it is not such a file.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} is not a text file") from None
    if path.suffix == ".json":
        return _from_json(text, path.name)
    return tuple(line.strip() for line in text.rstrip().splitlines())


def _from_json(text: str, name: str) -> tuple[str, ...]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is not JSON") from None
    if isinstance(document, dict):
        try:
            pairs = sorted(((int(key), label) for key, label in document.items()), key=lambda pair: pair[0])
        except ValueError:
            raise ValueError(f"{name}: a key is not the number of a class") from None
        if [class_id for class_id, _ in pairs] != list(range(len(pairs))):
            raise ValueError(f"{name}: the classes are not numbered 0, 1, 2, ...")
        document = [label[1] if isinstance(label, list) and len(label) == 2 else label for _, label in pairs]
    if not isinstance(document, list) or not all(isinstance(label, str) for label in document):
        raise ValueError(f"{name}: a list of names is wanted")
    return tuple(label.replace("_", " ").strip() for label in document)
