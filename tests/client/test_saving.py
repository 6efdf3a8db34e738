import threading
from pathlib import Path

import pytest

from client.saving import place, safe_stem
from client.selection import select


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dog", "dog"),
        ("Straße 3 (копия)", "Straße 3 (копия)"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\dog", "dog"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ('a<b>:"c|?*', "a_b___c___"),
        ("con", "_con"),
        ("Com1.x", "_Com1.x"),
        ("console", "console"),
        ("evil\u202egpj", "evil_gpj"),
        ("dog. ", "dog"),
        ("", "id"),
        ("..", "id"),
        ("\x00/", "id"),
        ("\n", "id"),
    ],
)
def test_names_that_any_system_takes(name: str, expected: str) -> None:
    assert safe_stem(name, "id") == expected


def test_a_long_name_is_cut_between_letters() -> None:
    stem = safe_stem("ж" * 500, "id")
    assert 0 < len(stem.encode()) <= 120
    assert set(stem) == {"ж"}


def put(folder: Path, number: int) -> list[Path]:
    scratch = folder / f".scratch-{number}"
    scratch.mkdir()
    files = {name: scratch / name for name in ("annotated.jpg", "result.json")}
    for path in files.values():
        path.write_text(str(number))
    return place(files, folder, "dog", fallback="id")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "dog-annotated.jpg").write_text("mine")
    assert [path.name for path in put(tmp_path, 1)] == ["dog-2-annotated.jpg", "dog-2-result.json"]
    assert not (tmp_path / "dog-result.json").exists()
    assert (tmp_path / "dog-annotated.jpg").read_text() == "mine"


def test_what_cannot_be_placed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("picture")
    with pytest.raises(FileNotFoundError):
        place({"annotated.jpg": tmp_path / "a", "result.json": tmp_path / "b"}, tmp_path, "dog", fallback="id")
    assert not list(tmp_path.glob("dog*"))


def test_many_of_one_name_at_once(tmp_path: Path) -> None:
    threads = [threading.Thread(target=put, args=(tmp_path, number)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pictures = sorted(tmp_path.glob("dog*-annotated.jpg"))
    assert {path.read_text() for path in pictures} == {str(number) for number in range(24)}
    for path in pictures:  # what belongs together has one beginning
        assert path.read_text() == path.with_name(path.name.replace("annotated.jpg", "result.json")).read_text()


def test_which_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.jpeg", "notes.txt", ".hidden.jpg", "sub/c.heic", "sub/d.pgm", "sub/e.mp4", ".git/f.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "again.jpg").symlink_to(tmp_path / "a.jpeg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "round").symlink_to(tmp_path)
    types = {"image/jpeg", "image/heic", "image/x-portable-anymap"}

    found = select([tmp_path, tmp_path / "b.JPG", tmp_path / "notes.txt"], types)
    names = [path.name for path in found.files]
    assert names == ["a.jpeg", "b.JPG", "c.heic", "d.pgm", "notes.txt"], "each once; what is named is sent as it is"
    assert {path.name for path in found.left_out} == {"notes.txt", ".hidden.jpg", "broken.jpg", "e.mp4"}
    assert [path.name for path in select([tmp_path / "sub"], {"video/mp4"}).files] == ["e.mp4"]
    assert select([tmp_path / "none.jpg"], types).problems
