"""The pages of live streams, with the whole service, its real model, and a camera that shows a real video."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenContext, Watch
from tests.conftest import Live, start_live, stop_live
from tests.worker.streams.servers import Camera

pytestmark = [pytest.mark.stack, pytest.mark.browser]

LONG_MS = 60_000


@pytest.fixture(scope="module")
def live(data_dir: Path, short_tmp: Path) -> Iterator[Live]:
    """The service with streams on, instead of the one that other tests use."""
    settings = {"ALLOW_STREAMS": "true", "STREAM_HOSTS": "127.0.0.1", "STREAM_SEGMENT_SECONDS": "4", "WORKERS": "1"}
    service = start_live(short_tmp / "live-streams", settings)
    yield service
    stop_live(service)


@pytest.fixture
def camera(data_dir: Path) -> Iterator[Camera]:
    camera = Camera(file=data_dir / "videos" / "one-by-one-person-detection.mp4")
    yield camera
    camera.die()


def test_a_stream_from_the_form_to_its_summary(
    page: Page, camera: Camera, watch: Watch, screenshot: Callable[[Page, str], None]
) -> None:
    watch.expected = ["404 (Not Found)", "422 (UNPROCESSABLE ENTITY)"]  # no picture yet; the address below
    page.goto("/")
    page.get_by_role("link", name="Live").click()
    page.get_by_label("Address of the stream").fill("http://10.0.0.1/live.ts")
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("alert")).to_contain_text("does not lead to a public address")
    page.get_by_label("Address of the stream").fill(camera.url.replace("//", "//anna:secret@") + "/file.ts")
    page.get_by_text("Counting, certainty, length").click()
    page.get_by_label("Line to be crossed").fill("0.5, 0, 0.5, 1")
    page.get_by_label("Address of the stream").press("Enter")

    expect(page.locator("#state")).to_have_text("Live", timeout=LONG_MS)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{camera.url}/file.ts")
    picture = page.get_by_alt_text("The newest frame")
    expect(picture).to_be_visible(timeout=LONG_MS)
    page.wait_for_function("() => document.querySelector('#picture').naturalWidth > 100")
    expect(page.locator("#counts")).to_contain_text(re.compile(r"\b1 person\b|\d people\b"), timeout=LONG_MS)
    expect(page.locator("#events")).to_contain_text(re.compile(r"person \d+ appeared"))
    expect(page.locator("#segments a").first).to_be_visible(timeout=LONG_MS)
    screenshot(page, "stream")

    page.get_by_role("button", name="Stop").press("Enter")
    expect(page.locator("#state")).to_have_text("finished", timeout=LONG_MS)
    expect(page.locator("#message")).to_contain_text("seen.")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    page.locator("#segments a").last.click()
    page.wait_for_function("() => document.querySelector('#player').currentTime > 0.5", timeout=LONG_MS)
    assert "secret" not in page.content()

    page.get_by_role("link", name="All streams").click()
    card = page.get_by_role("link", name=re.compile("file.ts finished"))
    expect(card).to_be_visible()
    card.click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("None yet.")).to_be_visible()


def test_without_scripts(open_context: OpenContext, camera: Camera) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto("/streams")
    page.get_by_label("Address of the stream").fill(f"{camera.url}/live.mjpg")
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{camera.url}/live.mjpg")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_timeout(2500)
    page.reload()
    expect(page.locator("#state")).to_have_text(re.compile("finished|canceled"))
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
