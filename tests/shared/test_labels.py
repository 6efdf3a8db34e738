import json
from pathlib import Path

import pytest

from shared.labels import read_labels


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("a.names", "cat\n traffic light \n\n", ("cat", "traffic light")),
        ("a.json", '["cat", "hot_dog"]', ("cat", "hot dog")),
        ("a.json", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ("a.json", '{"0": ["n02124075", "Egyptian_cat"]}', ("Egyptian cat",)),
        ("a.json", json.dumps({str(index): f"c{index}" for index in range(12)}), tuple(f"c{i}" for i in range(12))),
    ],
)
def test_labels(tmp_path: Path, name: str, text: str, labels: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == labels


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        "3",
        '{"a": "b"}',
        '{"1": "dog"}',
        '{"0": "cat", "00": ["n1", "cat"]}',
        "[1]",
        '{"0": ["a", "b", "c"]}',
    ],
)
def test_what_is_no_list_of_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_labels(tmp_path / "a.json")
