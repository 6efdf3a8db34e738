import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle_of
from pycocotools.coco import COCO

from shared.results import Detection
from worker.mask_files import coco_json, instance_ids, mask_files, mask_zip, member_name
from worker.masks import InstanceMask

SIZE = (30, 41)  # no multiple of 8 wide: the last byte of a line is half empty


def whole(mask: InstanceMask, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    canvas = np.zeros(size, np.bool_)
    mask.paint(canvas)
    return canvas


def masks_at(*corners: tuple[int, int]) -> list[InstanceMask]:
    random = np.random.default_rng(3)
    return [InstanceMask(left, top, random.random((9, 13)) < 0.6) for left, top in corners]


def detections(masks: Sequence[InstanceMask], *labels: str) -> list[Detection]:
    return [
        Detection(
            label=label,
            class_id=index,
            score=0.5,
            box=(mask.left, mask.top, mask.left + 13.25, mask.top + 9),
            mask=mask.to_rle(SIZE),
            mask_percent=100 * mask.area / (SIZE[0] * SIZE[1]),
        )
        for index, (mask, label) in enumerate(zip(masks, labels, strict=True))
    ]


def test_ids_are_the_places_in_the_result_and_the_first_lies_on_top() -> None:
    masks = masks_at((2, 1), (6, 4), (28, 21))

    ids = cv2.imdecode(np.frombuffer(instance_ids(masks, SIZE), np.uint8), cv2.IMREAD_UNCHANGED)

    assert ids is not None
    assert ids.dtype == np.uint16
    expected = np.zeros(SIZE, np.uint16)
    for number in (3, 2, 1):
        expected[whole(masks[number - 1])] = number
    assert np.array_equal(ids, expected)


def test_more_objects_than_a_byte_can_number() -> None:
    dots = [InstanceMask(index % 41, index // 41, np.ones((1, 1), np.bool_)) for index in range(300)]

    ids = cv2.imdecode(np.frombuffer(instance_ids(dots, SIZE), np.uint8), cv2.IMREAD_UNCHANGED)

    assert ids is not None
    assert ids.max() == 300


@pytest.mark.parametrize("left", range(9))
def test_each_object_is_an_image_of_one_bit_of_the_size_of_the_photo(left: int) -> None:
    masks = masks_at((left, 0), (28, 21))

    with zipfile.ZipFile(io.BytesIO(mask_zip(masks, ["person", "dog"], SIZE))) as archive:
        assert archive.namelist() == ["001-person.png", "002-dog.png"]
        for mask, name in zip(masks, archive.namelist(), strict=True):
            data = archive.read(name)
            image = Image.open(io.BytesIO(data))
            assert (image.mode, image.size) == ("1", (41, 30))
            assert np.array_equal(np.array(image), whole(mask))
            other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
            assert other is not None
            assert np.array_equal(other, whole(mask) * np.uint8(255)), "by another library, too"


def test_an_empty_mask_is_a_black_image() -> None:
    empty = InstanceMask(7, 7, np.zeros((0, 0), np.bool_))

    with zipfile.ZipFile(io.BytesIO(mask_zip([empty], ["dog"], SIZE))) as archive:
        assert not np.array(Image.open(io.BytesIO(archive.read("001-dog.png")))).any()


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("person", "007-person.png"),
        ("Traffic Light", "007-traffic-light.png"),
        ("Größe", "007-groe.png"),
        ("../../etc/passwd", "007-etc-passwd.png"),
        ("犬", "007-object.png"),
        ("", "007-object.png"),
        ("x" * 200, f"007-{'x' * 40}.png"),
    ],
)
def test_names_are_safe(label: str, name: str) -> None:
    assert member_name(7, label) == name


def test_the_same_masks_give_the_same_bytes() -> None:
    masks = masks_at((2, 1))
    assert mask_zip(masks, ["a"], SIZE) == mask_zip(masks, ["a"], SIZE)


def test_pycocotools_reads_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = masks_at((2, 1), (28, 21))
    path = tmp_path / "coco.json"
    path.write_bytes(coco_json(masks, detections(masks, "person", "Größe"), SIZE, "Straße.jpg"))

    data = COCO(str(path))
    capsys.readouterr()

    (image,) = data.loadImgs([1])
    assert (image["height"], image["width"], image["file_name"]) == (30, 41, "Straße.jpg")
    assert {category["id"]: category["name"] for category in data.loadCats(data.getCatIds())} == {
        0: "person",
        1: "Größe",
    }
    for mask, annotation in zip(masks, data.loadAnns(data.getAnnIds([1])), strict=True):
        assert np.array_equal(data.annToMask(annotation), whole(mask))
        segmentation: Any = annotation["segmentation"]
        assert annotation["area"] == rle_of.area(segmentation)
        assert annotation["bbox"] == [mask.left, mask.top, 13.25, 9]


def test_the_files_of_a_real_photo(data_dir: Path) -> None:
    """COCO's own outlines of a crowded photo."""
    truth: dict[str, Any] = json.loads((data_dir / "coco128" / "instances.json").read_text())
    info = next(item for item in truth["images"] if item["id"] == 196)
    size = (info["height"], info["width"])
    labels = {item["id"]: item["name"] for item in truth["categories"]}
    found = []
    for item in truth["annotations"]:
        if item["image_id"] == 196 and not item["iscrowd"]:
            encoded: Any = rle_of.merge(rle_of.frPyObjects(item["segmentation"], *size))
            left, top, width, height = item["bbox"]
            rle = {"size": size, "counts": encoded["counts"].decode()}
            box = (left, top, left + width, top + height)
            found.append(
                Detection.model_validate(
                    {"label": labels[item["category_id"]], "class_id": item["category_id"], "score": 1, "box": box}
                    | {"mask": rle}
                )
            )
    masks = [InstanceMask.from_rle(item.mask) for item in found if item.mask]
    assert len(masks) > 30

    files = {artifact.name: (artifact, data) for artifact, data in mask_files(masks, found, size, info["file_name"])}

    assert list(files) == ["instances.png", "masks.zip", "coco.json"]
    assert all(artifact.bytes == len(data) for artifact, data in files.values())
    ids = cv2.imdecode(np.frombuffer(files["instances.png"][1], np.uint8), cv2.IMREAD_UNCHANGED)
    assert ids is not None
    with zipfile.ZipFile(io.BytesIO(files["masks.zip"][1])) as archive:
        images = [np.array(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    assert len(images) == len(masks)
    assert np.array_equal(ids > 0, np.any(images, axis=0)), "both say the same"
    assert np.array_equal(ids == 1, images[0])


def test_what_does_not_fit_together_is_refused() -> None:
    masks = masks_at((2, 1))
    box_only = Detection(label="dog", class_id=0, score=1, box=(0, 0, 1, 1))
    with pytest.raises(ValueError, match="no mask"):
        coco_json(masks, [box_only], SIZE)
    with pytest.raises(ValueError, match="zip"):
        mask_files(masks, [], SIZE)
    with pytest.raises(ValueError, match="16 bits"):
        instance_ids(masks * 70_000, SIZE)
