"""The sign-in page: what a person sees of a service that asks for keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenContext, Screenshot, Watch
from tests.browser.pages import PHONE, assert_accessible, assert_no_sideways_scroll, choose, finished
from tests.conftest import Live, start_live, stop_live
from web.access import COOKIE
from web.keys import hash_of

pytestmark = [pytest.mark.browser, pytest.mark.stack]

ANNA, OPERATOR = "ds_anna-" + "a" * 40, "ds_operator-" + "o" * 40


@pytest.fixture(scope="module")
def live(data_dir: Path, short_tmp: Path) -> Iterator[Live]:
    """A service of our own, with the keys of two people."""
    keys = f"anna:{hash_of(ANNA)},admin:{hash_of(OPERATOR)}"
    service = start_live(short_tmp / "keys", {"API_KEYS": keys, "WEB_PROCESSES": "1"})
    yield service
    assert stop_live(service) == 0


@pytest.fixture(autouse=True)
def _unauthorized_is_expected(watch: Watch) -> None:
    watch.expected.append("401 (UNAUTHORIZED)")


def sign_in(page: Page, key: str) -> None:
    page.goto("/")
    page.get_by_label("API key").fill(key)
    with page.expect_navigation():  # up to the end of loading: what follows needs the scripts of the page
        page.get_by_role("button", name="Sign in").click()


def test_a_stranger_is_led_to_the_sign_in(page: Page, live: Live, screenshot: Screenshot) -> None:
    page.goto("/")
    assert page.url == f"{live.url}/sign-in"
    expect(page).to_have_title("Sign in · Dropsight")
    key = page.get_by_label("API key")
    expect(key).to_be_focused()
    expect(key).to_have_attribute("type", "password")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
    expect(page.locator("#dropzone")).to_have_count(0)
    field, button = key.bounding_box(), page.get_by_role("button", name="Sign in").bounding_box()
    assert field is not None
    assert button is not None
    assert button["y"] - (field["y"] + field["height"]) >= 8, "the button stands apart from the field"
    assert field["height"] >= 40, "large enough for a thumb"
    assert_accessible(page)
    screenshot(page, "sign-in-light")


def test_a_wrong_key_is_said_to_be_wrong(page: Page, open_context: OpenContext) -> None:
    sign_in(page, "ds_wrong")
    expect(page.get_by_role("alert")).to_have_text("This key is not known here.")
    expect(page.get_by_label("API key")).to_have_value("")
    assert page.context.cookies() == []
    assert open_context().request.get("/jobs").status == 401


def test_by_keyboard_in_and_out(page: Page, live: Live, data_dir: Path, screenshot: Screenshot) -> None:
    page.goto("/")
    page.keyboard.type(f" {ANNA} ")  # as it is copied from a message
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.locator("#dropzone")).to_be_visible()
    assert page.url == f"{live.url}/"
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
    assert page.evaluate("document.cookie") == ""
    choose(page, [data_dir / "photos" / "dog.jpg"])  # the upload, the news of it and its picture each carry the cookie
    dog = finished(page, "dog.jpg")
    page.wait_for_function("() => document.querySelector('.row img').naturalWidth > 0")
    expect(dog.locator(".labels")).to_contain_text("dog")
    screenshot(page, "signed-in-light")
    page.reload()
    expect(page.locator("#dropzone")).to_be_visible()
    page.goto("/sign-in")
    assert page.url == f"{live.url}/", "who is signed in needs no form"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.context.cookies() == []
    page.goto("/")
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_link_needs_no_key(page: Page, open_context: OpenContext, data_dir: Path) -> None:
    sign_in(page, ANNA)
    choose(page, [data_dir / "photos" / "eagle.jpg"])
    link = finished(page, "eagle.jpg").get_by_role("link", name="View").get_attribute("href")
    assert link is not None
    stranger = open_context().new_page()
    stranger.goto(link)
    expect(stranger.locator("h1")).to_have_text("There is a bird in this picture.")
    stranger.wait_for_function("() => document.querySelector('#image').naturalWidth > 0")
    expect(stranger.get_by_role("button", name="Sign out")).to_have_count(0)
    page.goto(link)
    for seer, buttons in ((page, 1), (stranger, 0)):  # it is no stranger's to delete
        expect(seer.locator("#actions").get_by_role("button", name="Share")).to_be_visible()
        expect(seer.get_by_role("button", name="Delete")).to_have_count(buttons)


def test_only_operators_are_shown_the_way_to_the_status_page(open_context: OpenContext, watch: Watch) -> None:
    watch.expected.append("403 (FORBIDDEN)")
    anna, operator = (open_context().new_page() for _ in range(2))
    sign_in(anna, ANNA)
    expect(anna.locator("#dropzone")).to_be_visible()
    expect(anna.get_by_role("link", name="Status")).to_have_count(0)
    anna.goto("/status")
    expect(anna.locator("main")).to_contain_text("This is for operators")
    sign_in(operator, OPERATOR)
    operator.get_by_role("link", name="Status").click()
    expect(operator.locator("h1")).to_be_visible()
    expect(operator.locator("main")).to_contain_text("interactive")


def test_without_javascript(open_context: OpenContext) -> None:
    page = open_context(java_script_enabled=False).new_page()
    sign_in(page, ANNA)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_context: OpenContext, screenshot: Screenshot, scheme: str) -> None:
    page = open_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).new_page()
    sign_in(page, "ds_wrong")
    expect(page.get_by_role("alert")).to_be_visible()
    assert_no_sideways_scroll(page)
    screenshot(page, f"sign-in-phone-{scheme}")
