from pathlib import Path

import pytest

from shared.catalog import load_catalog
from shared.entries import DarknetEntry
from shared.errors import BadInputError
from shared.settings import ROOT

ENTRY = """
[models.mine]
family = "darknet"
title = "Mine"
config = { name = "mine.cfg", size = 3 }
weights = { name = "mine.weights" }
classes = { name = "mine.names" }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.toml"


def test_the_projects_own_catalogue() -> None:
    catalog = load_catalog(ROOT / "weights" / "catalog.toml")
    assert set(catalog.models) >= {"yolov3", "yolov3-tiny", "yolov3-spp", "yolo-fastest-1.1-xl", "yolo-fastest-1.1"}
    assert load_catalog(ROOT / "weights" / "catalog.toml").fallback == "person"
    for entry in catalog.models.values():
        if entry.name in {"person", "person-masks"}:
            assert not entry.missing_files(ROOT / "weights"), "it ships with the project"
            continue
        for file in entry.files:
            assert file.url
            assert file.url.startswith("https://")
            assert file.size


def test_an_entry_of_a_user(path: Path) -> None:
    path.write_text('default = "mine"\n' + ENTRY)
    entry = load_catalog(path)["mine"]
    assert isinstance(entry, DarknetEntry)
    assert (entry.name, entry.resize, entry.image_size) == ("mine", "letterbox", None)
    folder = path.parent
    assert [file.name for file in entry.missing_files(folder)] == ["mine.cfg", "mine.weights", "mine.names"]
    for name, text in (("mine.cfg", "1234"), ("mine.weights", ""), ("mine.names", "")):
        (folder / name).write_text(text)
    assert [file.name for file in entry.missing_files(folder)] == ["mine.cfg"], "it has another size than stated"
    (folder / "mine.cfg").write_text("123")
    assert entry.missing_files(folder) == []


def test_an_unknown_name_names_the_choices(path: Path) -> None:
    path.write_text('default = "mine"\n' + ENTRY)
    with pytest.raises(BadInputError, match="mine"):
        load_catalog(path)["yours"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        'default = "other"' + ENTRY,
        'default = "mine"' + ENTRY.replace("darknet", "unheard-of"),
        'default = "mine"' + ENTRY.replace("mine.cfg", "../mine.cfg"),
        'default = "mine"' + ENTRY.replace("mine.cfg", "/etc/passwd"),
        'default = "mine"' + ENTRY + "colour = 1",
        'default = "mine"' + ENTRY.replace('"mine.weights"', '"mine.weights", url = "http://x/y"'),
        'default = "mine"' + ENTRY.replace('"mine.weights"', '"mine.weights", sha256 = "12"'),
        "not toml",
    ],
)
def test_a_broken_catalogue_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        load_catalog(path)


def test_another_default(path: Path) -> None:
    path.write_text('default = "mine"\n' + ENTRY + ENTRY.replace("models.mine", "models.other"))
    assert load_catalog(path, "other").default == "other"


def test_a_change_of_the_file_is_seen(path: Path) -> None:
    path.write_text('default = "mine"\n' + ENTRY)
    first = load_catalog(path)
    assert load_catalog(path) is first
    path.write_text('default = "mine"\n' + ENTRY + ENTRY.replace("models.mine", "models.other"))
    assert set(load_catalog(path).models) == {"mine", "other"}


@pytest.mark.parametrize(
    ("installed", "name"),
    [(None, "big"), ([], "big"), (["big"], "big"), (["big", "small"], "big"), (["small"], "small"), (["mine"], "big")],
)
def test_what_is_used_while_the_default_is_not_installed(path: Path, installed: list[str] | None, name: str) -> None:
    entries = "".join(ENTRY.replace("mine", model) for model in ("big", "small", "mine"))
    path.write_text('default = "big"\nfallback = "small"\n' + entries)
    assert load_catalog(path).in_use(installed) == name


def test_a_fallback_that_is_no_model(path: Path) -> None:
    path.write_text('default = "mine"\nfallback = "yours"\n' + ENTRY)
    with pytest.raises(ValueError, match="fallback"):
        load_catalog(path)
