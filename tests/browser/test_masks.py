"""The page of a result with masks, and of one with classes.

The models that give them are no part of these tests: a real photo is looked at by the service's detector, and its
result in storage is then replaced by a document such as those models write. The masks in it are COCO's own of that
photo, encoded by pycocotools.
"""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from pycocotools import mask as coco

from shared.jobs import result_key
from shared.results import Artifact, Classification, Detection, ImageResult, Rle, classified, count_labels, sentence
from shared.storage.folder import FolderStorage
from tests.browser.conftest import FINISH_MS, Live, OpenContext, Screenshot, Upload
from tests.browser.pages import PHONE, assert_accessible, assert_no_sideways_scroll
from worker.drawing import draw_detections, encode_jpeg
from worker.images import decode_image
from worker.mask_files import mask_files
from worker.masks import InstanceMask, covered_percent

pytestmark = [pytest.mark.browser, pytest.mark.stack]

Pixels = NDArray[np.uint8]
#: of coco128: a street with people, trucks and bags
PHOTO = 257


def pixels_of(path: Path) -> Pixels:
    return decode_image(path.read_bytes(), max_pixels=10**8, max_aspect=100).pixels


def coco_detections(data_dir: Path, image_id: int) -> tuple[Path, list[Detection]]:
    """A photo of coco128 and its annotated objects, the largest first."""
    folder = data_dir / "coco128"
    truth: dict[str, Any] = json.loads((folder / "instances.json").read_text())
    info = next(item for item in truth["images"] if item["id"] == image_id)
    size = (info["height"], info["width"])
    labels = {item["id"]: item["name"] for item in truth["categories"]}
    found = []
    annotations = [item for item in truth["annotations"] if item["image_id"] == image_id and not item["iscrowd"]]
    for number, item in enumerate(sorted(annotations, key=lambda item: -item["area"])):
        encoded: Any = coco.merge(coco.frPyObjects(item["segmentation"], *size))
        left, top, width, height = item["bbox"]
        found.append(
            Detection(
                label=labels[item["category_id"]],
                class_id=item["category_id"],
                score=round(0.99 - number / 100, 2),
                box=(left, top, left + width, top + height),
                mask=Rle(size=size, counts=encoded["counts"].decode()),
                mask_percent=100 * float(coco.area(encoded)) / (size[0] * size[1]),
            )
        )
    return folder / "images" / info["file_name"], found


class Stored:
    """Replaces the results of finished jobs in the storage of the running service."""

    def __init__(self, live: Live, upload: Upload) -> None:
        self.storage = FolderStorage(live.data_dir / "storage")
        self.upload = upload

    def job(self, photo: Path, files: list[tuple[Artifact, bytes]], **update: Any) -> dict[str, Any]:
        job = self.upload(photo)
        key = result_key(job["id"], "result.json")
        result = ImageResult.from_json(self.storage.get(key))
        for artifact, data in files:
            self.storage.put(result_key(job["id"], artifact.name), data)
        artifacts = [*result.artifacts, *(artifact for artifact, _ in files)]
        document = result.model_copy(update={"artifacts": artifacts, **update})
        self.storage.put(key, document.to_json())
        return job | {"result": json.loads(document.to_json())}

    def outlined(self, photo: Path, found: list[Detection]) -> dict[str, Any]:
        masks = [InstanceMask.from_rle(item.mask) for item in found if item.mask]
        pixels = pixels_of(photo)
        size = (pixels.shape[0], pixels.shape[1])
        counts = count_labels(item.label for item in found)
        drawn = encode_jpeg(draw_detections(pixels, found, masks))
        files = [
            *mask_files(masks, found, size, photo.name),
            (Artifact(name="annotated.jpg", content_type="image/jpeg", bytes=len(drawn)), drawn),
        ]
        return self.job(
            photo,
            files,
            task="segmentation",
            detections=found,
            counts=counts,
            text=sentence(counts),
            mask_percent=covered_percent(masks, size),
        )


@pytest.fixture
def stored(live: Live, upload: Upload) -> Stored:
    return Stored(live, upload)


@pytest.fixture
def street(stored: Stored, data_dir: Path) -> dict[str, Any]:
    photo, found = coco_detections(data_dir, PHOTO)
    return stored.outlined(photo, found)


CLASSES = [
    Classification(label="African elephant", class_id=386, score=0.912),
    Classification(label="tusker", class_id=101, score=0.071),
    Classification(label="Indian elephant", class_id=385, score=0.0021),
]


@pytest.fixture
def elephant(stored: Stored, data_dir: Path) -> dict[str, Any]:
    photo = data_dir / "photos" / "elephant.jpg"
    pixels = pixels_of(photo)
    heat = np.zeros_like(pixels)
    heat[..., 0] = np.linspace(0, 255, pixels.shape[1]).astype(np.uint8)
    drawn = encode_jpeg(pixels // 2 + heat // 2)
    return stored.job(
        photo,
        [(Artifact(name="heatmap.jpg", content_type="image/jpeg", bytes=len(drawn)), drawn)],
        task="classification",
        detections=[],
        counts={},
        classes=CLASSES,
        explained=CLASSES[0],
        text=classified(CLASSES),
        options={"top": 3, "explain": True, "explain_class": ""},
    )


def pixels_in(found: dict[str, Any]) -> Pixels:
    """The mask of an object of a result document, by pycocotools: uint8 (height, width)."""
    rle: Any = {"size": list(found["mask"]["size"]), "counts": found["mask"]["counts"].encode()}
    return np.asarray(coco.decode(rle), np.uint8)


def open_result(page: Page, job: dict[str, Any]) -> None:
    page.goto(job["links"]["view"])
    if job["result"]["detections"]:
        expect(page.locator(".overlay")).to_have_attribute("data-masks", "ready", timeout=FINISH_MS)
    page.wait_for_function("() => document.querySelector('#image').naturalWidth > 0")


def test_the_page_reads_masks_as_pycocotools_does(page: Page, data_dir: Path) -> None:
    random = np.random.default_rng(5)
    masks: list[NDArray[Any]] = [
        random.random(size) < share for size in ((1, 1), (1, 9), (9, 1), (31, 40)) for share in (0, 0.2, 0.8, 1)
    ]
    for image_id in (PHOTO, 196):
        _, found = coco_detections(data_dir, image_id)
        masks += [pixels_in(item.model_dump()) for item in found[:12]]
    page.goto("/")
    for mask in masks:
        encoded: Any = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        rle = {"size": list(mask.shape), "counts": encoded["counts"].decode()}
        grid = page.evaluate(
            """async (rle) => {
                const { gridOf } = await import("/static/js/masks.js");
                const grid = gridOf(rle, 1e9);
                return grid && { ...grid, cells: [...grid.cells] };
            }""",
            rle,
        )
        read = np.zeros(mask.shape, np.bool_)
        if grid is not None:
            cells = np.array(grid["cells"], np.bool_).reshape(grid["columns"], grid["rows"]).T
            read[grid["top"] :, grid["left"] :][: grid["rows"], : grid["columns"]] = cells
        assert np.array_equal(read, mask.astype(np.bool_))


def test_outlines_lie_where_the_objects_are(page: Page, street: dict[str, Any]) -> None:
    """Whether a place is inside the line is asked of the browser, and the truth of pycocotools."""
    open_result(page, street)
    random = np.random.default_rng(2)
    for index, found in enumerate(street["result"]["detections"]):
        mask = pixels_in(found)
        left, top, right, bottom = found["box"]
        places = random.uniform((left, top), (right, bottom), (60, 2)).tolist()
        inside = page.evaluate(
            """([index, places]) => {
                const shape = document.querySelector(`.overlay g[data-index="${index}"] .shape`);
                return places.map(([x, y]) => shape.isPointInFill(new DOMPoint(x, y)));
            }""",
            [index, places],
        )
        truth = [bool(mask[min(int(y), mask.shape[0] - 1), min(int(x), mask.shape[1] - 1)]) for x, y in places]
        agree = sum(one == other for one, other in zip(inside, truth, strict=True))
        assert agree >= 52, (found["label"], agree)  # the corners of pixels are cut off


def test_every_object_has_an_outline_instead_of_a_box(
    page: Page, street: dict[str, Any], screenshot: Screenshot
) -> None:
    open_result(page, street)
    found = street["result"]["detections"]
    expect(page.locator(".overlay g.outlined .shape")).to_have_count(len(found))
    expect(page.locator(".overlay .edge").first).to_be_hidden()
    expect(page.locator("#shown-count")).to_contain_text(f"{len(found)} objects; all together cover")
    total = street["result"]["mask_percent"]
    expect(page.locator("#facts")).to_contain_text(f"{total:.0f} % of the picture")
    first = page.locator('.objects tr[data-index="0"]')
    expect(first).to_contain_text(f"{found[0]['mask_percent']:.1f} %")
    assert_accessible(page)
    page.mouse.move(5, 5)
    screenshot(page, "view-masks-light")


def test_one_object_is_switched_off_and_on(page: Page, street: dict[str, Any]) -> None:
    open_result(page, street)
    count = len(street["result"]["detections"])
    label = street["result"]["detections"][0]["label"]
    eye = page.locator('.objects tr[data-index="0"] input')
    assert (eye.get_attribute("aria-label") or "").startswith(f"Show {label}")
    eye.focus()
    page.keyboard.press("Space")
    expect(page.locator('.overlay g[data-index="0"]')).to_be_hidden()
    expect(page.locator('.objects tr[data-index="0"]')).to_be_visible()
    expect(page.locator("#shown-count")).to_contain_text(f"{count - 1} of {count} objects shown")
    page.keyboard.press("Space")
    expect(page.locator('.overlay g[data-index="0"] .shape')).to_be_visible()
    eye.uncheck()
    page.get_by_role("button", name="Show all").click()
    expect(eye).to_be_checked()
    expect(page.locator(".overlay g:not(.off)")).to_have_count(count)


def test_labels_outlines_and_boxes_are_switched(page: Page, street: dict[str, Any]) -> None:
    open_result(page, street)
    people = sum(found["label"] == "person" for found in street["result"]["detections"])
    assert people > 3
    page.locator("#label-switches label", has_text="people").click()
    expect(page.locator('.overlay g[data-label="person"]:not(.off)')).to_have_count(0)
    page.locator("#label-switches label", has_text="people").click()
    shape, edge = (page.locator(f'.overlay g[data-index="0"] .{part}') for part in ("shape", "edge"))
    page.get_by_role("switch", name="Boxes on the picture").click()
    expect(edge).to_be_visible()
    expect(shape).to_be_visible()
    page.get_by_role("switch", name="Outlines on the picture").click()
    expect(shape).to_be_hidden()
    page.get_by_role("switch", name="Boxes on the picture").click()
    expect(page.locator(".overlay")).to_be_hidden()


def test_pointing_at_an_outline_lights_up_its_line(page: Page, street: dict[str, Any], screenshot: Screenshot) -> None:
    open_result(page, street)
    found = street["result"]["detections"]
    mask = pixels_in(found[0])
    for other in found[1:]:
        mask[pixels_in(other) > 0] = 0
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2
    image = page.locator("#image").bounding_box()
    assert image is not None
    scale = image["width"] / mask.shape[1]
    page.mouse.move(image["x"] + columns[middle] * scale, image["y"] + rows[middle] * scale)
    expect(page.locator('.overlay g[data-index="0"]')).to_have_class(re.compile("active"))
    expect(page.locator('.objects tr[data-index="0"]')).to_have_class(re.compile("active"))
    screenshot(page, "view-masks-hover")


def test_by_keyboard_the_focus_shows_on_the_outline(page: Page, street: dict[str, Any]) -> None:
    open_result(page, street)
    stop = page.locator('.overlay g[tabindex="0"]')
    stop.focus()
    page.keyboard.press("ArrowRight")
    active = page.locator(".overlay g.active")
    expect(active).to_have_count(1)
    expect(active).to_have_attribute("aria-label", re.compile(r", covers .* % of the picture$"))
    assert active.evaluate("group => getComputedStyle(group.querySelector('.shape-halo')).strokeWidth") == "8px"


def test_downloads(page: Page, street: dict[str, Any]) -> None:
    open_result(page, street)
    contents = {}
    for name, ending in (("Masks", ".zip"), ("Instance ids", ".png"), ("COCO JSON", ".json"), ("CSV", ".csv")):
        with page.expect_download() as download:
            page.locator("#downloads").get_by_role("link", name=name, exact=True).click()
        assert download.value.suggested_filename.endswith(ending)
        contents[name] = Path(download.value.path()).read_bytes()
    count = len(street["result"]["detections"])
    with zipfile.ZipFile(io.BytesIO(contents["Masks"])) as archive:
        assert len(archive.namelist()) == count
        with page.expect_download() as download:
            page.locator('.objects tr[data-index="2"]').get_by_role("link", name=re.compile("^Mask of")).click()
        assert Path(download.value.path()).read_bytes() == archive.read(archive.namelist()[2])
    assert len(json.loads(contents["COCO JSON"])["annotations"]) == count
    lines = contents["CSV"].decode().splitlines()
    assert lines[0] == "label,score,left,top,right,bottom,mask_percent"
    assert len(lines) == count + 1


def test_a_hundred_large_masks_do_not_freeze_the_page(page: Page, stored: Stored, data_dir: Path) -> None:
    """12 megapixels: the masks say so, whatever the size of the photo behind them."""
    height, width = 3000, 4000
    random = np.random.default_rng(3)
    rows, columns = np.ogrid[:height, :width]
    found = []
    for number in range(100):
        y, x, radius = random.uniform((500, 500, 200), (2500, 3500, 800))
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        encoded: Any = coco.encode(np.asfortranarray(disc.astype(np.uint8)))
        left, top, wide, high = coco.toBbox(encoded).tolist()
        found.append(
            Detection(
                label=("person", "dog")[number % 2],
                class_id=number % 2,
                score=0.9,
                box=(left, top, left + wide, top + high),
                mask=Rle(size=(height, width), counts=encoded["counts"].decode()),
                mask_percent=1,
            )
        )
    job = stored.job(data_dir / "photos" / "horses.jpg", [], task="segmentation", detections=found, mask_percent=50)
    document = json.loads(stored.storage.get(result_key(job["id"], "result.json")))
    document["source"] |= {"width": width, "height": height}
    stored.storage.put(result_key(job["id"], "result.json"), json.dumps(document).encode())
    page.add_init_script(
        """window.frames_between = 0;
        const count = () => {
            const overlay = document.querySelector(".overlay");
            if (overlay?.querySelector(".shape") && !overlay.dataset.masks) window.frames_between++;
            requestAnimationFrame(count);
        };
        requestAnimationFrame(count);"""
    )
    page.goto(job["links"]["view"])
    expect(page.locator(".overlay")).to_have_attribute("data-masks", "ready", timeout=FINISH_MS)
    expect(page.locator(".overlay g.outlined")).to_have_count(100)
    assert page.evaluate("window.frames_between") > 2, "nothing was painted until all masks were there"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_context: OpenContext, street: dict[str, Any], screenshot: Screenshot, scheme: str) -> None:
    page = open_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).new_page()
    open_result(page, street)
    assert_no_sideways_scroll(page)
    screenshot(page, f"view-masks-phone-{scheme}")


def test_in_the_dark(open_context: OpenContext, street: dict[str, Any], screenshot: Screenshot) -> None:
    page = open_context(color_scheme="dark").new_page()
    open_result(page, street)
    screenshot(page, "view-masks-dark")


def test_classes_have_bars(page: Page, elephant: dict[str, Any], screenshot: Screenshot) -> None:
    open_result(page, elephant)
    expect(page.locator("h1")).to_have_text("This is most likely an African elephant (91 %).")
    classes = page.locator("#classes li")
    expect(classes).to_have_count(3)
    expect(classes.nth(0)).to_contain_text("African elephant")
    expect(classes.nth(0)).to_contain_text("91 %")
    expect(classes.nth(2)).to_contain_text("0.21 %")
    for name in ("Boxes on the picture", "Outlines on the picture"):
        expect(page.get_by_role("switch", name=name)).to_be_hidden()
    for hidden in ("#objects-section", "#labels-field", "#score-field"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#facts")).to_contain_text("explain yes")
    assert_accessible(page)
    screenshot(page, "view-classes-light")


def test_the_heat_map_comes_and_goes(page: Page, elephant: dict[str, Any]) -> None:
    open_result(page, elephant)
    image = page.locator("#image")
    expect(image).to_have_attribute("src", elephant["links"]["original"])
    switch = page.get_by_role("switch", name="Heat map")
    switch.focus()
    page.keyboard.press("Space")
    expect(image).to_have_attribute("src", re.compile(r"/heatmap\.jpg$"))
    page.wait_for_function(
        "() => document.querySelector('#image').complete && document.querySelector('#image').naturalWidth > 0"
    )
    expect(page.locator("#heat-note")).to_have_text("The warm places speak for “African elephant”.")
    page.keyboard.press("Space")
    expect(image).to_have_attribute("src", elephant["links"]["original"])
    with page.expect_download() as download:
        page.locator("#downloads").get_by_role("link", name="Heat map").click()
    assert download.value.suggested_filename.endswith("heatmap.jpg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_classes_on_a_phone(
    open_context: OpenContext, elephant: dict[str, Any], screenshot: Screenshot, scheme: str
) -> None:
    page = open_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).new_page()
    open_result(page, elephant)
    page.get_by_role("switch", name="Heat map").tap()
    assert_no_sideways_scroll(page)
    screenshot(page, f"view-classes-phone-{scheme}")


def test_without_javascript(open_context: OpenContext, elephant: dict[str, Any]) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto(elephant["links"]["view"])
    expect(page.locator("img.plain-image")).to_have_attribute("src", re.compile("heatmap"))
    expect(page.locator(".objects tbody tr")).to_have_count(3)
