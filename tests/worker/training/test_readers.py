"""Each format read: from real data sets, and from small ones that say exactly what must come out."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from tests.worker.training.builders import write_coco, write_image
from worker.training.datasets.coco_masks import read_masks
from worker.training.datasets.errors import DatasetError
from worker.training.datasets.files import image_size
from worker.training.datasets.reading import read_dataset
from worker.training.datasets.split import split_samples


def test_pennfudan(data_dir: Path) -> None:
    dataset = read_dataset(data_dir / "pennfudan")
    assert (dataset.kind, dataset.labels, len(dataset.samples), dataset.problems) == ("masks", ("person",), 134, ())
    assert sum(len(sample.boxes) for sample in dataset.samples) == 348
    first = dataset.samples[0]
    # Annotation/FudanPed00001.txt, which counts from 1 and includes the last pixel: (160, 182) - (302, 431)
    assert first.path.name == "FudanPed00001.png"
    assert first.size == (536, 559)
    assert first.boxes.tolist() == [[159, 181, 302, 431], [419, 170, 535, 486]]
    assert first.masks is not None
    masks = first.masks()
    assert masks.shape == (2, 536, 559)
    rows, columns = np.nonzero(masks[1])
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == first.boxes[1].tolist()


def test_coco128(data_dir: Path) -> None:
    dataset = read_dataset(data_dir / "coco128")
    assert (dataset.kind, len(dataset.labels), len(dataset.samples)) == ("masks", 80, 128)
    person = dataset.labels.index("person")
    assert sum((sample.class_ids == person).sum() for sample in dataset.samples) == 259
    assert sum(sample.crowd.sum() for sample in dataset.samples) > 0
    off: list[float] = []
    for sample in dataset.samples:
        if sample.masks is None:
            continue
        masks = sample.masks()
        assert masks.shape == (len(sample.boxes), *(sample.size or ()))
        for mask, box in zip(masks, sample.boxes, strict=True):
            rows, columns = np.nonzero(mask)
            outline = np.asarray([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            off.append(float(np.abs(outline - box).max()))
    assert len(off) > 800
    # some boxes of COCO are not those of their polygons
    assert np.quantile(off, 0.95) < 2


def test_bccd(data_dir: Path) -> None:
    dataset = read_dataset(data_dir / "bccd")
    assert (dataset.kind, dataset.format) == ("detection", "Pascal VOC")
    assert dataset.labels == ("Platelets", "RBC", "WBC")
    splits = [sample.split for sample in dataset.samples]
    assert (splits.count("train"), splits.count("val"), len(splits)) == (205, 87, 292)
    first = dataset.samples[0]
    assert first.size == (480, 640)
    assert first.boxes[0].tolist() == [260, 177, 491, 376]
    assert dataset.labels[first.class_ids[0]] == "WBC"


def test_coco_categories_crowds_and_splits(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.jpg")
    write_image(tmp_path / "images" / "val" / "b.jpg")
    write_coco(tmp_path / "annotations" / "train.json", {"a.jpg": [(3, (1, 2, 10, 20))]})
    write_coco(tmp_path / "annotations" / "val.json", {"b.jpg": [(7, (1, 2, 10, 20))]}, iscrowd=1)
    dataset = read_dataset(tmp_path)
    assert (dataset.kind, dataset.labels) == ("detection", ("cat", "dog"))
    a, b = dataset.samples
    assert (a.path, b.path) == (tmp_path / "images" / "a.jpg", tmp_path / "images" / "val" / "b.jpg")
    assert (a.split, b.split) == ("train", "val")
    assert (a.class_ids.tolist(), b.class_ids.tolist()) == ([1], [0])
    assert (a.boxes.tolist(), a.crowd.tolist(), b.crowd.tolist()) == ([[1, 2, 11, 22]], [False], [True])


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param([[2, 1, 8, 1, 8, 5, 2, 5]], id="polygon"),
        pytest.param({"size": [40, 60], "counts": [2 * 40 + 1, *[4, 36] * 5, 4, 40 * 60 - 285]}, id="counts"),
    ],
)
def test_coco_masks(tmp_path: Path, segmentation: object) -> None:
    write_image(tmp_path / "a.jpg")
    write_coco(tmp_path / "instances.json", {"a.jpg": [(3, (2, 1, 6, 4))]}, segmentation=segmentation)
    dataset = read_dataset(tmp_path)
    assert dataset.kind == "masks"
    assert dataset.samples[0].masks is not None
    mask = dataset.samples[0].masks()[0]
    expected = np.zeros((40, 60), np.bool_)
    expected[1:5, 2:8] = True
    assert (mask == expected).all()


def test_packed_runs_are_those_of_pycocotools() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        mask = np.kron(random.random((8, 6)) < 0.5, np.ones((5, 10))) > 0
        mask ^= random.random(mask.shape) < 0.01
        packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = packed["counts"]
        assert isinstance(counts, bytes)
        text = {"size": [40, 60], "counts": counts.decode()}
        assert (read_masks([text], (40, 60))[0] == mask).all()


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [40, 60], "counts": [0, 10]},  # pycocotools leaves the rest to chance
        {"size": [40, 60], "counts": [0, 10**6]},
        {"size": [40, 60], "counts": [2**63, 2**63, 2400]},
        {"size": [40, 60], "counts": [-100, 2500]},
        {"size": [40, 60], "counts": []},
        {"size": [40, 60], "counts": "zzzzzzzzzzzzzzzzzzzz99999"},
        {"size": [40, 60], "counts": "\u0100"},
        {"size": [60, 40], "counts": [2400]},
        {"size": 5},
        [],
        [[1, 2]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[1, 2, "a", 4, 5, 6]],
        "abc",
        None,
    ],
)
def test_masks_of_another_form(segmentation: object) -> None:
    with pytest.raises(DatasetError, match="a mask cannot be read"):
        read_masks([segmentation], (40, 60))


def test_a_polygon_far_outside_ends_at_the_edge() -> None:
    # pycocotools takes hours for it
    mask = read_masks([[[-1e12, 10, 1e300, 10, 1e300, 20, -1e12, 20]]], (40, 60))[0]
    assert mask[11:19].all()
    assert not mask[:9].any()
    assert not mask[21:].any()


def test_yolo_beside_and_mirrored(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "train" / "a.jpg")
    write_image(tmp_path / "images" / "val" / "b.jpg")
    write_image(tmp_path / "images" / "val" / "c.jpg")
    for name, text in {"train/a": "1 0.5 0.5 0.5 0.25\n", "val/b": "0 0.1 0.1 0.2 0.2\n\n"}.items():
        path = tmp_path / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "data.yaml").write_text("train: images/train\nnames:\n  0: cat\n  1: 'big dog'\nnc: 2\n")
    dataset = read_dataset(tmp_path)
    assert (dataset.format, dataset.labels, dataset.problems) == ("YOLO text files", ("cat", "big dog"), ())
    a, b, c = dataset.samples
    assert (a.boxes.tolist(), a.class_ids.tolist(), a.split) == ([[15, 15, 45, 25]], [1], "train")
    np.testing.assert_allclose(b.boxes, [[0, 0, 12, 8]], atol=1e-5)
    assert (b.split, len(c.boxes), c.split) == ("val", 0, "val")


@pytest.mark.parametrize(
    "text", ["names: [cat, 'dog']\n", "names:\n- cat\n- dog # big\n", "names:\n  - cat\n  - dog\n"]
)
def test_yolo_names_in_yaml(tmp_path: Path, text: str) -> None:
    write_image(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("1 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text(text)
    assert read_dataset(tmp_path).labels == ("cat", "dog")


def test_a_folder_a_class(tmp_path: Path) -> None:
    inner = tmp_path / "things"  # as zip files often have it
    for number, place in enumerate(["train/cat/1.jpg", "train/dog/2.jpg", "val/dog/deep/3.jpg"]):
        write_image(inner / place, seed=number)
    write_image(tmp_path / "__MACOSX" / "things" / "1.jpg")
    dataset = read_dataset(tmp_path)
    assert (dataset.kind, dataset.labels, dataset.root) == ("classification", ("cat", "dog"), inner)
    assert [(s.class_ids.tolist(), s.split) for s in dataset.samples] == [([0], "train"), ([1], "train"), ([1], "val")]


def test_pennfudan_needs_a_mask_for_each(tmp_path: Path) -> None:
    write_image(tmp_path / "PNGImages" / "a.png")
    write_image(tmp_path / "PNGImages" / "b.png")
    mask = np.zeros((40, 60), np.uint8)
    mask[3:9, 5:7] = 4
    (tmp_path / "PedMasks").mkdir()
    cv2.imwrite(str(tmp_path / "PedMasks" / "a_mask.png"), mask)
    dataset = read_dataset(tmp_path)
    assert [sample.boxes.tolist() for sample in dataset.samples] == [[[5, 3, 7, 9]]]
    assert [(problem.code, problem.file) for problem in dataset.problems] == [("mask_missing", "PedMasks/b_mask.png")]


def test_no_known_format(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    (tmp_path / "notes.json").write_text("[]")
    (tmp_path / "notes.xml").write_text("<note/>")
    with pytest.raises(DatasetError, match="no known format"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="not there"):
        read_dataset(tmp_path / "other")


def test_size_of_a_turned_image(data_dir: Path) -> None:
    upright, turned = (image_size(path) for path in sorted((data_dir / "odd" / "exif").glob("Landscape_[16].jpg")))
    assert upright == turned
    assert upright[0] < upright[1]


def test_split_is_seeded_and_keeps_what_is_given(data_dir: Path) -> None:
    samples = read_dataset(data_dir / "pennfudan").samples
    split = split_samples(samples, val=0.1, test=1 / 3, seed=5)
    assert (len(split.train), len(split.val), len(split.test)) == (80, 9, 45)
    assert {s.path for s in split.train + split.val + split.test} == {sample.path for sample in samples}
    again = split_samples(tuple(reversed(samples)), val=0.1, test=1 / 3, seed=5)
    assert [s.path for s in again.test] == [s.path for s in split.test]
    other = split_samples(samples, val=0.1, test=1 / 3, seed=6)
    assert [s.path for s in other.test] != [s.path for s in split.test]

    cells = read_dataset(data_dir / "bccd").samples
    given = split_samples(cells, val=0.1, test=1 / 3, seed=0)
    assert {s.split for s in given.test} == {"val"}
    assert (len(given.test), len(given.train) + len(given.val)) == (87, 205)
