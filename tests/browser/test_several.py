"""Options by the model's task, and several models on one photo: the form, the rows, the page that shows all answers."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import FINISH_MS, OpenContext, Screenshot, Watch
from tests.browser.pages import (
    PHONE,
    assert_accessible,
    assert_no_sideways_scroll,
    choose,
    variant,
)
from tests.conftest import Live, start_live, stop_live

pytestmark = [pytest.mark.browser, pytest.mark.stack]

#: the two models whose files are at hand
XL, SMALL = "yolo-fastest-1.1-xl", "yolo-fastest-1.1"
SECRET = "whsec_" + "c2VjcmV0" * 6


@pytest.fixture(scope="module")
def live(data_dir: Path, short_tmp: Path) -> Iterator[Live]:
    """A service of our own: with two models, and with webhooks."""
    weights = short_tmp / "several" / "weights"
    weights.mkdir(parents=True)
    for ending in ("cfg", "weights"):
        shutil.copy(data_dir / "weights" / f"{SMALL}.{ending}", weights)
    service = start_live(
        short_tmp / "several", {"WEB_PROCESSES": "1", "ALLOW_WEBHOOKS": "true", "WEBHOOK_SECRET": SECRET}
    )
    yield service
    assert stop_live(service) == 0


@pytest.fixture
def dog(data_dir: Path) -> Path:
    return data_dir / "photos" / "dog.jpg"


def open_start(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#model option").first).not_to_have_text("Loading…")


def choose_both(page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option(XL)
    page.locator("#others summary").click()
    page.locator("#others-list").get_by_label("Yolo-Fastest", exact=True).check()


def test_two_models_are_two_rows_that_lead_to_both_answers(
    page: Page, dog: Path, tmp_path: Path, screenshot: Screenshot
) -> None:
    open_start(page)
    choose_both(page)
    expect(page.locator("#others-list").get_by_label("Yolo-Fastest XL")).to_be_hidden()
    with page.expect_response("**/upload") as answer:
        choose(page, [variant(dog, tmp_path, "both.jpg")])
    jobs = answer.value.json()["jobs"]
    assert [job["model"] for job in jobs] == [XL, SMALL]
    rows = page.locator("#rows .row")
    expect(rows).to_have_count(2)
    expect(page.locator('.row[data-state="finished"]')).to_have_count(2, timeout=FINISH_MS)
    assert page.locator(".row-model").all_text_contents() == [XL, SMALL]
    expect(page.locator("#overall-text")).to_have_text("2 answers done")
    screenshot(page, "index-two-models")
    rows.nth(1).get_by_role("link", name=re.compile("^Compare the answers")).click()
    expect(page).to_have_url(re.compile(r"/compare\?ids="))
    expect(page.locator(".answer")).to_have_count(2)
    assert page.locator(".answer h2").all_text_contents() == [XL, SMALL]
    expect(page.locator(".compare-table tbody")).to_contain_text("dog")
    page.wait_for_function("() => [...document.images].every((image) => image.naturalWidth > 0)")
    assert_accessible(page)
    screenshot(page, "compare-light")
    page.get_by_role("link", name=f"View the answer of {SMALL}", exact=True).click()
    expect(page.locator("#facts")).to_contain_text(SMALL)


def test_each_row_is_deleted_alone(page: Page, dog: Path, tmp_path: Path) -> None:
    open_start(page)
    choose_both(page)
    with page.expect_response("**/upload") as answer:
        choose(page, [variant(dog, tmp_path, "half.jpg")])
    first, second = answer.value.json()["jobs"]
    expect(page.locator('.row[data-state="finished"]')).to_have_count(2, timeout=FINISH_MS)
    with page.expect_response(lambda response: response.request.method == "DELETE", timeout=FINISH_MS):
        page.locator("#rows .row").first.get_by_role("button", name=re.compile("^Delete")).click()
    expect(page.locator("#rows .row")).to_have_count(1)
    assert page.request.get(second["status_url"]).json()["state"] == "finished"
    page.goto(f"/compare?ids={first['id']},{second['id']}")
    expect(page.locator(".answer")).to_have_count(1)


def test_a_row_that_failed_sends_its_model_alone_again(page: Page, watch: Watch, dog: Path, tmp_path: Path) -> None:
    watch.expected.append("/events")
    open_start(page)
    choose_both(page)
    failed: dict[str, Any] = {
        "state": "failed",
        "error": {"code": "crashed", "message": "The worker died."},
        "links": {},
    }

    def answer(route: Any) -> None:
        jobs = [{"id": f"{number}" * 32, "model": model} | failed for number, model in enumerate((XL, SMALL))]
        route.fulfill(status=202, json={"jobs": jobs})

    page.route("**/upload", answer, times=1)
    choose(page, [variant(dog, tmp_path, "again.jpg")])
    expect(page.locator('.row[data-state="failed"]')).to_have_count(2)
    row = page.locator("#rows .row").nth(1)
    with page.expect_response("**/upload") as response:
        row.get_by_role("button", name=re.compile("^Try again")).click()
    assert response.value.json()["model"] == SMALL
    expect(row).to_have_attribute("data-state", "finished", timeout=FINISH_MS)
    expect(page.locator('.row[data-state="failed"]')).to_have_count(1)


def test_answers_come_in_by_themselves(page: Page, dog: Path, tmp_path: Path) -> None:
    """The page is opened while the jobs still wait."""
    body = variant(dog, tmp_path, "live.jpg").read_bytes()
    file: Any = {"name": "live.jpg", "mimeType": "image/jpeg", "buffer": body}
    first = page.request.post("/upload", multipart={"file": file, "model": f"{XL},{SMALL}"}).json()["jobs"]
    page.goto("/compare?ids=" + ",".join(job["id"] for job in first))
    page.evaluate("window.stayed = true")
    expect(page.locator('.answer[data-state="finished"]')).to_have_count(2, timeout=FINISH_MS)
    expect(page.locator("#compare-table")).to_be_visible()
    assert page.evaluate("window.stayed") is True


def test_the_fields_are_those_of_the_models(
    page: Page, watch: Watch, dog: Path, tmp_path: Path, screenshot: Screenshot
) -> None:
    """With a classifier and a model with outlines in the list, as the server would name them."""
    watch.expected.append("422")
    models = page.request.get("/models").json()
    detector = next(model for model in models["models"] if model["name"] == XL)
    classifier = detector | {
        "name": "dishes",
        "title": "Dishes",
        "task": "classification",
        "options": ["top", "explain", "explain_class"],
        "classes": ["pizza", "African elephant"],
        "default": False,
    }
    outliner = detector | {"name": "outliner", "title": "Outliner", "task": "segmentation", "default": False}
    models["models"] += [classifier, outliner]
    page.route("**/models", lambda route: route.fulfill(json=models))
    sent: list[str] = []

    def take(route: Any) -> None:
        sent.append(route.request.post_data_buffer.decode("latin-1"))
        route.fulfill(status=422, json={"error": {"code": "invalid_option", "message": "A test."}})

    page.route("**/upload", take)
    open_start(page)
    model = page.get_by_label("Model", exact=True)
    assert page.locator("#model optgroup").evaluate_all("groups => groups.map((group) => group.label)") == [
        "Objects in boxes",
        "Objects with outlines",
        "The picture as a whole",
    ]
    expect(page.locator("#score")).to_be_visible()
    expect(page.locator("#top")).to_be_hidden()
    model.select_option("dishes")
    expect(page.locator("#score")).to_be_hidden()
    page.get_by_label("So many classes").fill("5")
    expect(page.locator("#explain_class")).to_be_hidden()
    page.get_by_label("Explain with a heat map").check()
    page.get_by_label("Class to explain").fill("pizza")
    assert page.locator("#class-names option").count() == 2
    page.locator("#advanced summary").click()
    expect(page.locator("#iou")).to_be_hidden()
    page.get_by_label("Priority").select_option("bulk")
    page.get_by_label("Give up after").fill("90")
    page.get_by_label("Tell this address").fill("https://example.org/hook")
    screenshot(page, "index-classifier")
    choose(page, [variant(dog, tmp_path, "options.jpg")])
    expect(page.locator('.row[data-state="failed"]')).to_have_count(1)
    fields = dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', sent[0]))
    assert fields == {
        "model": "dishes",
        "top": "5",
        "explain": "true",
        "explain_class": "pizza",
        "priority": "bulk",
        "cancel_after": "90",
        "webhook": "https://example.org/hook",
    }
    page.get_by_role("button", name="Back to the defaults").click()
    for name in ("top", "cancel_after", "webhook"):
        assert page.locator(f"#{name}").input_value() == ("3" if name == "top" else "")
    page.locator("#others summary").click()
    page.locator("#others-list").get_by_label("Dishes").check()
    expect(page.locator("#top")).to_be_visible()
    expect(page.locator("#score")).to_be_visible()


def test_no_more_models_than_may_look(page: Page) -> None:
    models = page.request.get("/models").json()
    models["models"].append(models["models"][0] | {"name": "third", "title": "Third", "default": False})
    models["limits"]["max_models"] = 2
    page.route("**/models", lambda route: route.fulfill(json=models))
    open_start(page)
    choose_both(page)
    expect(page.locator("#others-note")).to_have_text("At most 2 models at a time.")
    third = page.locator("#others-list").get_by_label("Third")
    expect(third).to_be_disabled()
    page.locator("#others-list").get_by_label("Yolo-Fastest", exact=True).uncheck()
    expect(third).to_be_enabled()


def test_the_terms_of_a_job_reach_the_server(page: Page, dog: Path, tmp_path: Path) -> None:
    open_start(page)
    page.locator("#advanced summary").click()
    page.get_by_label("Priority").select_option("bulk")
    page.get_by_label("Give up after").fill("300")
    with page.expect_response("**/upload") as answer:
        choose(page, [variant(dog, tmp_path, "terms.jpg")])
    job = page.request.get(answer.value.json()["status_url"]).json()
    assert job["priority"] == "bulk"
    assert job["deadline"] is not None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_context: OpenContext, dog: Path, tmp_path: Path, screenshot: Screenshot, scheme: str) -> None:
    page = open_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).new_page()
    open_start(page)
    choose_both(page)
    page.locator("#advanced summary").click()
    assert_no_sideways_scroll(page)
    choose(page, [variant(dog, tmp_path, f"phone-{scheme}.jpg")])
    expect(page.locator('.row[data-state="finished"]')).to_have_count(2, timeout=FINISH_MS)
    assert_no_sideways_scroll(page)
    screenshot(page, f"index-two-models-phone-{scheme}")
    page.get_by_role("link", name=re.compile("^Compare the answers")).first.click()
    expect(page.locator(".answer")).to_have_count(2)
    page.wait_for_function("() => [...document.images].every((image) => image.naturalWidth > 0)")
    assert_no_sideways_scroll(page)
    screenshot(page, f"compare-phone-{scheme}")


def test_without_javascript(open_context: OpenContext, page: Page, dog: Path, tmp_path: Path) -> None:
    file: Any = {
        "name": "plain.jpg",
        "mimeType": "image/jpeg",
        "buffer": variant(dog, tmp_path, "plain.jpg").read_bytes(),
    }
    answer = page.request.post("/upload?wait=30", multipart={"file": file, "model": f"{XL},{SMALL}"})
    ids = ",".join(job["id"] for job in answer.json()["jobs"])
    plain = open_context(java_script_enabled=False).new_page()
    plain.goto(f"/compare?ids={ids}")
    expect(plain.locator(".answer img")).to_have_count(2)
    expect(plain.locator("#compare-table")).to_be_visible()
