"""`python -m worker.train` up to where Keras begins: reading and checking the data."""

import json
import shutil
from pathlib import Path

import pytest

from tests.worker.training.builders import write_image, write_voc
from worker.train import main


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    root = tmp_path / "cells"
    for name in ("a", "b"):
        write_image(root / "JPEGImages" / f"{name}.jpg", seed=ord(name))
        write_voc(root, name, [("red", (5, 5, 20, 20)), ("white", (30, 5, 30, 20))])
    return root


def check(data: Path, out: Path) -> int:
    return main(["detection", "--data", str(data), "--out", str(out), "--check"])


def test_check_names_what_is_wrong(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(cells, tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "Pascal VOC, 2 images" in said
    assert "red: 2 in 2 images" in said
    assert "note JPEGImages/b.jpg: box 2 has no area" in said
    report = json.loads((tmp_path / "out" / "report-cells.json").read_text())
    assert report["problem_counts"] == {"box_empty": 2, "class_empty": 1}


def test_a_zip_file_is_unpacked_once(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "cells")
    out = tmp_path / "out"
    assert check(Path(archive), out) == 0
    image = out / "data" / "packed" / "cells" / "JPEGImages" / "a.jpg"
    before = image.stat().st_mtime_ns
    assert check(Path(archive), out) == 0
    assert image.stat().st_mtime_ns == before
    assert capsys.readouterr().out.count("red: 2 in 2 images") == 2


def test_what_cannot_be_trained_on(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(cells / "JPEGImages")
    assert check(cells, tmp_path / "out") == 1
    said = capsys.readouterr()
    assert "ERROR .: no image can be used" in said.out
    assert "cannot be trained on" in said.err
    assert check(tmp_path / "nowhere", tmp_path / "out") == 1
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no zip")
    assert check(bad, tmp_path / "out") == 1
    assert "the zip file is broken" in capsys.readouterr().err


def test_options_are_checked(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["detection", "--data", str(cells), "--out", str(tmp_path / "out"), "--check"]
    assert main([*arguments, "--test", "1.5"]) == 1
    assert "test" in capsys.readouterr().err


def test_masks_need_masks(cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["masks", "--data", str(cells), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--check"]) == 0
    assert "Pascal VOC, 2 images" in capsys.readouterr().out
    assert main([*arguments, "--epochs", "0"]) == 1
    assert "epochs" in capsys.readouterr().err
