"""The start page: what becomes of its rows, what it warns of, and how it looks elsewhere."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import FINISH_MS, OpenContext, Screenshot, Watch
from tests.browser.pages import (
    PHONE,
    assert_accessible,
    assert_no_sideways_scroll,
    choose,
    finished,
    row,
    variant,
)

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_options_are_sent_with_the_file(page: Page, photos: Path, tmp_path: Path) -> None:
    asked: list[Route] = []
    page.route("**/models", lambda route: asked.append(route))
    page.goto("/")
    page.locator("#score").fill("0.9")  # sooner than the page knows its models
    asked[0].continue_()
    expect(page.locator("#model option").first).not_to_have_text("Loading…")
    expect(page.locator("#score-value")).to_have_text("90 %")
    with page.expect_response("**/upload") as answer:
        choose(page, [variant(photos / "dog.jpg", tmp_path, "sure.jpg")])
    finished(page, "sure.jpg")
    job = page.request.get(answer.value.json()["status_url"]).json()
    assert job["options"]["score"] == 0.9
    assert all(found["score"] >= 0.9 for found in job["result"]["detections"])


def test_delete_can_be_undone_and_else_is_done(page: Page, watch: Watch, photos: Path, tmp_path: Path) -> None:
    watch.expected.append("404")
    page.goto("/")
    with page.expect_response("**/upload") as answer:
        choose(page, [variant(photos / "eagle.jpg", tmp_path, "going.jpg")])
    status_url = answer.value.json()["status_url"]
    going = finished(page, "going.jpg")
    going.get_by_role("button", name=re.compile("^Delete")).click()
    expect(going).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect(going).to_be_visible()
    assert page.request.get(status_url).ok
    going.get_by_role("button", name=re.compile("^Delete")).click()
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.mouse.move(5, 5)
    assert page.request.get(status_url).status == 404


def test_what_fails_again_and_again_is_one_tile(page: Page) -> None:
    """Against a list made here: a page full of one failure, and what lies behind it."""
    error = {"code": "bad_image", "message": "It is cut off."}
    bad = {"state": "failed", "filename": "bad.jpg", "model": "person", "error": error, "links": {}}
    other = bad | {"error": {"code": "timeout", "message": "It took too long."}}
    good = bad | {"state": "canceled", "filename": "good.jpg", "error": None}
    pages = {
        "": {"jobs": [bad | {"id": f"bad-{number}"} for number in range(12)], "next": "second"},
        "second": {"jobs": [each | {"id": "x"} for each in (bad, other, good, good)], "next": None},
    }
    page.route(
        "**/jobs?*",
        lambda route: route.fulfill(json=pages[parse_qs(urlsplit(route.request.url).query).get("cursor", [""])[0]]),
    )
    page.goto("/")
    tiles = page.locator("#recent-grid .tile")
    expect(tiles).to_have_count(4)
    expect(tiles.locator(".chip")).to_have_text(["Failed 13 times", "Failed", "Canceled", "Canceled"])
    expect(tiles.first).to_have_attribute("href", re.compile("/view/bad-0$"))
    expect(page.locator("#recent-more")).to_be_hidden()


def test_what_runs_is_canceled_at_once_and_stays_in_the_list(page: Page, data_dir: Path) -> None:
    page.goto("/")
    with page.expect_response("**/upload") as answer:
        choose(page, [data_dir / "videos" / "one-by-one-person-detection.mp4"])
    going = row(page, "one-by-one")
    with page.expect_response(lambda response: response.url.endswith("/cancel")) as canceled:
        going.get_by_role("button", name=re.compile("^Cancel")).click()
    assert canceled.value.status == 202
    expect(going).to_have_attribute("data-state", "canceled", timeout=FINISH_MS)
    expect(going).to_be_visible()
    assert page.request.get(answer.value.json()["status_url"]).json()["state"] == "canceled"
    going.get_by_role("button", name=re.compile("^Remove")).click()
    expect(going).to_have_count(0)


def test_a_file_name_is_text(page: Page, photos: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='gotcha'>.jpg"
    page.goto("/")
    choose(page, [variant(photos / "eagle.jpg", tmp_path, name)])
    link = finished(page, name).locator(".row-name a")
    expect(link).to_have_text(name)
    link.click()
    expect(page.locator("#file-name")).to_have_text(name)
    assert "gotcha" not in (page.title() or "").replace(name, "")


def test_a_banner_says_which_model_is_missing(page: Page) -> None:
    models = page.request.get("/models").json()
    for model in models["models"]:
        model.update(installed=False, install=f"make weights MODEL={model['name']}")
    page.route("**/models", lambda route: route.fulfill(json=models))
    page.goto("/")
    expect(page.locator("#banner-model")).to_contain_text(f"make weights MODEL={models['default']}")
    expect(page.locator("#model")).to_contain_text("None is installed")
    assert page.locator("#model option:not([disabled])").count() == 0


def test_what_ships_stands_in_for_the_default(page: Page, screenshot: Screenshot) -> None:
    """As on a fresh clone without internet: the two models that come with the project, and how to get more."""
    models = page.request.get("/models").json()
    for model in models["models"]:
        installed = model["name"] in ("person", "person-masks")
        model.update(installed=installed, install=None if installed else f"make weights MODEL={model['name']}")
    models["in_use"] = "person"
    page.route("**/models", lambda route: route.fulfill(json=models))
    page.goto("/")
    expect(page.locator("#banner-model")).to_contain_text("Until it is, “People” is at work.")
    expect(page.locator("#banner-model")).to_contain_text(f"make weights MODEL={models['default']}")
    expect(page.locator("#model")).to_have_value("person")
    expect(page.locator("#model option:not([disabled])")).to_have_text(["People", "People, outlined"])
    expect(page.locator("#model-note summary")).to_contain_text("more can be installed")
    screenshot(page, "index-shipped-light")
    # The default is installed while the page is open. Whoever has chosen keeps the choice.
    default = next(model for model in models["models"] if model["name"] == models["default"])
    default.update(installed=True, install=None)
    models["in_use"] = models["default"]
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator("#model")).to_have_value(models["default"])
    expect(page.locator("#banner-model")).to_have_count(0)
    page.locator("#model").select_option("person-masks")
    models["in_use"] = "person"
    default.update(installed=False, install="make weights")
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator("#banner-model")).to_be_visible()
    expect(page.locator("#model")).to_have_value("person-masks")


def test_a_banner_says_that_no_worker_is_alive(page: Page, watch: Watch, screenshot: Screenshot) -> None:
    watch.expected.append("503")
    checks = {"redis": {"ok": True, "message": ""}, "worker": {"ok": False, "message": "No worker is alive."}}
    answer = {"ready": False, "checks": checks}
    page.route("**/readyz", lambda route: route.fulfill(status=503, json=answer))
    page.goto("/")
    expect(page.locator("#banner-ready")).to_contain_text("No worker is alive.")
    expect(page.locator("#banner-ready")).to_contain_text("make run")
    screenshot(page, "index-no-worker")


def test_the_theme_is_remembered(page: Page) -> None:
    page.goto("/")
    toggle = page.locator("#theme-toggle")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    toggle.click()
    toggle.click()
    expect(toggle).to_have_attribute("aria-label", "Colours: dark")
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    assert page.evaluate(background) == dark
    toggle.click()
    assert page.evaluate(background) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_context: OpenContext, photos: Path, screenshot: Screenshot, scheme: str) -> None:
    page = open_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).new_page()
    page.goto("/")
    expect(page.locator("#model option").first).not_to_have_text("Loading…")
    page.locator("#advanced summary").click()
    assert_no_sideways_scroll(page)
    choose(page, [photos / "dog.jpg", photos / "street.jpg", photos / "eagle.jpg"])
    for name in ("dog.jpg", "street.jpg", "eagle.jpg"):
        finished(page, name).scroll_into_view_if_needed()
    assert_no_sideways_scroll(page)
    screenshot(page, f"index-phone-{scheme}")


def test_in_the_dark(open_context: OpenContext, photos: Path, screenshot: Screenshot) -> None:
    page = open_context(color_scheme="dark").new_page()
    page.goto("/")
    screenshot(page, "index-empty-dark")
    choose(page, [photos / "dog.jpg", photos / "street.jpg"])
    finished(page, "dog.jpg")
    finished(page, "street.jpg")
    screenshot(page, "index-finished-dark")


def test_everything_has_a_name(page: Page, photos: Path) -> None:
    page.goto("/")
    choose(page, [photos / "dog.jpg"])
    finished(page, "dog.jpg")
    assert_accessible(page)
