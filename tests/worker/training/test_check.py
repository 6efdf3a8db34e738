"""What the report says of broken data sets, and what is left of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.worker.training.builders import write_coco, write_image, write_voc
from worker.training.datasets.check import Checked, check
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.reading import read_dataset


def checked(root: Path) -> Checked:
    return check(read_dataset(root))


def found(result: Checked) -> set[tuple[str, str]]:
    return {(problem.code, problem.file) for problem in result.report.problems}


@pytest.mark.parametrize(("name", "images", "counts"), [("pennfudan", 134, {}), ("bccd", 292, {"box_empty": 2})])
def test_real_data_sets(data_dir: Path, name: str, images: int, counts: dict[str, int]) -> None:
    result = checked(data_dir / name)
    assert (result.report.usable, result.report.images) == (True, images)
    assert result.report.problem_counts == counts
    assert len(result.dataset.samples) == images


def test_boxes(tmp_path: Path) -> None:
    write_image(tmp_path / "JPEGImages" / "a.jpg")
    good = (5.0, 5.0, 20.0, 20.0)
    write_voc(
        tmp_path,
        "a",
        [
            ("cat", good),
            ("cat", good),
            ("dog", good),
            ("dog", (30, 5, 30, 20)),
            ("dog", (70, 5, 80, 20)),
            ("dog", (50, 30, 66, 45)),
        ],
    )
    result = checked(tmp_path)
    image = "JPEGImages/a.jpg"
    codes = ("box_duplicate", "box_empty", "box_outside", "box_over_edge")
    assert found(result) == {(code, image) for code in codes}
    sample = result.dataset.samples[0]
    assert sample.boxes.tolist() == [[5, 5, 20, 20], [5, 5, 20, 20], [50, 30, 66, 45]]
    assert sample.class_ids.tolist() == [0, 1, 1]
    assert {count.label: (count.images, count.objects) for count in result.report.classes} == {
        "cat": (1, 1),
        "dog": (1, 2),
    }


def test_images(tmp_path: Path) -> None:
    box = [("cat", (5.0, 5.0, 20.0, 20.0))]
    for name in ("good", "gone", "cut", "text", "copy", "small"):
        write_voc(tmp_path, name, box)
    folder = tmp_path / "JPEGImages"
    good = write_image(folder / "good.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(write_image(folder / "other.jpg", seed=1).read_bytes()[:-400])
    (folder / "other.jpg").unlink()
    (folder / "text.jpg").write_text("no image")
    (folder / "copy.jpg").write_bytes(good)
    write_image(folder / "small.jpg", size=(30, 60), seed=2)
    result = checked(tmp_path)
    assert found(result) == {
        ("image_missing", "Annotations/gone.jpg"),
        ("image_unreadable", "JPEGImages/cut.jpg"),
        ("image_unreadable", "JPEGImages/text.jpg"),
        # of two that are the same, the first by name stays
        ("image_duplicate", "JPEGImages/good.jpg"),
        ("size_differs", "JPEGImages/small.jpg"),
    }
    assert [sample.path.stem for sample in result.dataset.samples] == ["copy", "small"]
    assert result.dataset.samples[1].size == (30, 60)


def test_voc_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg", seed=ord(name))
    write_voc(tmp_path, "a", [("cat", (5, 5, 20, 20))])
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation>")
    (tmp_path / "Annotations" / "c.xml").write_text(
        '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        "<annotation><object><name>&x;</name></object></annotation>"
    )
    (tmp_path / "Annotations" / "d.xml").write_text(
        "<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>nan</ymin><xmax>3</xmax></bndbox></object>"
        "</annotation>"
    )
    result = checked(tmp_path)
    assert found(result) == {
        ("annotation_unreadable", "Annotations/b.xml"),
        ("annotation_unreadable", "Annotations/c.xml"),
        ("box_unreadable", "Annotations/d.xml"),
    }
    assert any("entities" in problem.message for problem in result.report.problems)
    assert result.report.usable


def test_coco_rows(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.jpg")
    write_image(tmp_path / "secret.jpg", seed=9)
    path = write_coco(tmp_path / "data" / "instances.json", {"a.jpg": [(3, (1, 1, 5, 5))], "../../secret.jpg": []})
    document = json.loads(path.read_text())
    row = document["annotations"][0]
    document["annotations"] += [
        {**row, "id": 2, "image_id": 99},
        {**row, "id": 3, "category_id": 4},
        {**row, "id": 4, "bbox": [1, 1, "5", 5]},
        {**row, "id": 5, "bbox": None},
    ]
    path.write_text(json.dumps(document))
    root = tmp_path / "data"
    write_image(root / "images" / "a.jpg")
    result = checked(root)
    codes = ("image_unknown", "class_unknown", "box_unreadable", "path_outside")
    assert found(result) - {("class_empty", ".")} == {
        *((code, "instances.json") for code in codes),
        ("image_missing", "images/secret.jpg"),
    }
    assert [len(sample.boxes) for sample in result.dataset.samples] == [1]


def test_yolo_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.jpg", seed=ord(name))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "a.txt").write_text("0 .5 .5 .2 .2\n5 .5 .5 .2 .2\n0 .5 .5 .2\n0 .5 .5 .2 inf\n")
    (tmp_path / "gone.txt").write_text("0 .5 .5 .2 .2\n")
    result = checked(tmp_path)
    assert found(result) == {
        ("class_unknown", "a.jpg"),
        ("box_unreadable", "a.txt"),
        ("image_missing", "gone.txt"),
        ("class_empty", "."),
    }
    assert result.report.problem_counts["box_unreadable"] == 2
    assert result.report.empty_images == 1


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    for name, size in (("a", (40, 60)), ("b", (20, 60)), ("c", (40, 60))):
        write_image(tmp_path / "PNGImages" / f"{name}.png", seed=ord(name))
        mask = np.zeros(size, np.uint8)
        mask[3:9, 5:7] = 1
        (tmp_path / "PedMasks").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "PedMasks" / f"{name}_mask.png"), mask)
    (tmp_path / "PedMasks" / "c_mask.png").write_bytes(b"no image")
    result = checked(tmp_path)
    assert {("mask_size", "PNGImages/b.png"), ("mask_unreadable", "PedMasks/c_mask.png")} <= found(result)
    assert [sample.path.stem for sample in result.dataset.samples] == ["a"]


def test_nothing_to_train_on(tmp_path: Path) -> None:
    write_image(tmp_path / "JPEGImages" / "a.jpg")
    write_voc(tmp_path, "a", [])
    report = checked(tmp_path).report
    assert not report.usable
    assert report.problems[0].model_dump() == {
        "code": "no_objects",
        "file": ".",
        "message": "no image has an object that can be used",
        "fatal": True,
    }


def test_a_class_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "a.jpg")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "b.jpg").write_text("no image")
    report = checked(tmp_path).report
    assert not report.usable
    assert set(report.problem_counts) == {"image_unreadable", "class_empty", "one_class"}


def test_categories_differ(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", {"a.jpg": []})
    path = write_coco(tmp_path / "val.json", {"b.jpg": []})
    path.write_text(path.read_text().replace('"cat"', '"bird"'))
    with pytest.raises(DatasetError, match="has other categories than"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"images"', '"pictures"', "no list 'images'"),
        ('"file_name"', '"name"', "an entry of 'images' has not the fields id, file_name"),
        ('"category_id": 3', '"category_id": [3]', "an entry of 'annotations' has not the fields"),
    ],
)
def test_coco_of_another_form(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_coco(tmp_path / "a.json", {"a.jpg": [(3, (1, 1, 5, 5))]})
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        read_dataset(tmp_path)
