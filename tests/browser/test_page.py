"""The start page: photos in, answers out."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import FINISH_MS, OpenContext, Screenshot, Watch
from tests.browser.pages import PHONE, assert_no_sideways_scroll, choose, finished, row, variant

pytestmark = [pytest.mark.browser, pytest.mark.stack]


def test_a_chosen_photo_becomes_a_row_that_says_what_is_in_it(page: Page, photos: Path, screenshot: Screenshot) -> None:
    page.goto("/")
    screenshot(page, "index-empty-light")
    choose(page, [photos / "dog.jpg"])
    dog = finished(page, "dog.jpg")
    expect(dog.locator(".labels")).to_contain_text("dog")
    expect(dog.locator(".labels")).to_contain_text("bicycle")
    expect(dog.locator(".labels")).to_contain_text("%")
    expect(dog.locator(".row-text")).to_contain_text("in this picture")
    expect(dog.locator("img")).to_have_attribute("src", re.compile(r"/results/.+/thumbnail\.jpg"))
    page.wait_for_function("() => document.querySelector('.row img').naturalWidth > 0")
    for name in ("View", "Drawn picture of", "JSON of"):
        link = dog.get_by_role("link", name=re.compile(f"^{name}"))
        answer = page.request.get(link.get_attribute("href") or "")
        assert answer.ok, name
    expect(page.locator("#overall-text")).to_have_text("1 photo done")
    screenshot(page, "index-finished-light")


def test_the_sample_picture_with_one_key(page: Page, screenshot: Screenshot) -> None:
    page.goto("/")
    button = page.get_by_role("button", name="Try a sample picture")
    button.focus()
    page.keyboard.press("Enter")
    sample = finished(page, "sample.jpg")
    expect(sample.locator(".labels")).to_contain_text("4 people")
    expect(button).to_be_enabled()
    screenshot(page, "index-sample-light")


def test_without_scripts_the_sample_picture_can_be_saved(open_context: OpenContext) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto("/")
    link = page.get_by_role("link", name="Take the sample picture")
    answer = page.request.get(link.get_attribute("href") or "")
    assert answer.ok
    assert answer.headers["content-type"] == "image/jpeg"


def test_dropped_on_the_page(page: Page, photos: Path) -> None:
    page.goto("/")
    content = base64.b64encode((photos / "eagle.jpg").read_bytes()).decode()
    transfer = page.evaluate_handle(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        content,
    )
    page.dispatch_event("#dropzone", "dragenter", {"dataTransfer": transfer})
    expect(page.locator("#drop-veil")).to_be_visible()
    page.dispatch_event("#dropzone", "drop", {"dataTransfer": transfer})
    expect(page.locator("#drop-veil")).to_be_hidden()
    expect(finished(page, "dropped.jpg").locator(".labels")).to_contain_text("bird")


def test_pasted_picture(page: Page, photos: Path) -> None:
    page.goto("/")
    content = base64.b64encode((photos / "eagle.jpg").read_bytes()).decode()
    page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        content,
    )
    finished(page, "pasted.jpg")


def test_a_folder_is_taken_without_what_is_no_photo(page: Page, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    (folder / "day 1").mkdir(parents=True)
    variant(photos / "eagle.jpg", folder / "day 1", "eagle.jpg")
    (folder / "notes.txt").write_text("no photo")
    page.goto("/")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(folder)
    finished(page, "holiday/day 1/eagle.jpg")
    expect(page.locator("#rows .row")).to_have_count(1)
    expect(page.locator("#toasts")).to_contain_text("1 file left out")


def test_thirty_photos_at_once(page: Page, photos: Path, tmp_path: Path, screenshot: Screenshot) -> None:
    sources = sorted(photos.glob("*.jpg"))[:10]
    files = [variant(source, tmp_path, f"{index}-{source.name}") for index in range(3) for source in sources]
    page.goto("/")
    choose(page, files)
    expect(page.locator("#rows .row")).to_have_count(30)
    assert page.locator(".row-name").first.text_content() == files[0].name, "one batch keeps its order"
    screenshot(page, "index-progress-light")
    expect(page.locator('.row[data-state="finished"]')).to_have_count(30, timeout=3 * FINISH_MS)
    expect(page.locator("#overall-text")).to_have_text("30 photos done")
    expect(page.locator("#announce")).to_have_text("30 photos done")
    expect(page).to_have_title("Dropsight")


def test_a_file_that_is_no_picture_says_so(page: Page, watch: Watch, tmp_path: Path, screenshot: Screenshot) -> None:
    watch.expected.append("415")
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear reader, this is no picture.")
    page.goto("/")
    with page.expect_response("**/upload") as answer:
        choose(page, [letter])
    assert answer.value.status == 415
    failed = row(page, "letter.jpg")
    expect(failed).to_have_attribute("data-state", "failed")
    expect(failed.locator("code")).to_have_text("unsupported_type")
    assert answer.value.json()["error"]["message"] in (failed.locator(".row-text").text_content() or "")
    expect(failed.get_by_role("button", name="Try again")).to_have_count(0)
    screenshot(page, "index-error-light")
    failed.get_by_role("button", name=re.compile("Remove")).click()
    expect(page.locator("#rows .row")).to_have_count(0)
    expect(page.locator("#work")).to_be_hidden()


def test_a_file_that_is_too_large_is_not_sent(page: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/upload") else None)
    page.goto("/")
    limit = int(page.locator("body").get_attribute("data-max-upload-mb") or 0)
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(limit * 1024 * 1024 + 1)
    choose(page, [large])
    expect(row(page, "large.jpg")).to_contain_text("too_large")
    expect(row(page, "large.jpg")).to_contain_text(f"at most {limit} MB")
    assert sent == []


def test_a_busy_server_is_tried_again_without_help(page: Page, watch: Watch, photos: Path, tmp_path: Path) -> None:
    watch.expected.append("429")
    answers = 0

    def busy_at_first(route: Route) -> None:
        nonlocal answers
        answers += 1
        if answers > 1:
            route.continue_()
            return
        body = json.dumps({"error": {"code": "queue_full", "message": "The queue is full."}})
        route.fulfill(status=429, headers={"Retry-After": "2"}, content_type="application/json", body=body)

    page.route("**/upload", busy_at_first)
    page.goto("/")
    choose(page, [variant(photos / "eagle.jpg", tmp_path, "patient.jpg")])
    expect(row(page, "patient.jpg")).to_have_attribute("data-state", "busy")
    expect(row(page, "patient.jpg")).to_contain_text("trying again by itself in")
    finished(page, "patient.jpg")
    assert answers == 2


def test_without_event_streams_the_states_are_asked_for(page: Page, watch: Watch, photos: Path, tmp_path: Path) -> None:
    watch.expected.append("/events")
    page.route("**/events?*", lambda route: route.abort())
    page.goto("/")
    choose(page, [variant(photos / "eagle.jpg", tmp_path, "polled.jpg")])
    finished(page, "polled.jpg")


def test_five_hundred_files_are_one_stream_of_at_most_64(open_context: OpenContext) -> None:
    """Against answers made here: the page, not the worker, is what is looked at."""
    page = open_context(viewport=PHONE, has_touch=True, is_mobile=True, reduced_motion="reduce").new_page()
    streams: list[list[str]] = []
    broken = ("job-0123", "job-0401")
    taken = 0

    def take(route: Route) -> None:
        nonlocal taken
        taken += 1
        route.fulfill(status=202, json={"id": f"job-{taken:04}", "state": "queued", "position": taken})

    def stream(route: Route) -> None:
        ids = parse_qs(urlsplit(route.request.url).query)["id"]
        streams.append(ids)
        result = {"text": "Nothing.", "counts": {}, "detections": []}
        bad = {"state": "failed", "error": {"code": "bad_image", "message": "It is cut off."}}
        jobs = [
            {"id": job_id, "state": "finished", "links": {}, "result": result} | (bad if job_id in broken else {})
            for job_id in ids
        ]
        events = "".join(f"event: job\ndata: {json.dumps(job)}\n\n" for job in jobs)
        route.fulfill(content_type="text/event-stream", body=events + "event: end\ndata: {}\n\n")

    page.route("**/upload", take)
    page.route("**/events?*", stream)
    page.goto("/")
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            for (let index = 0; index < 500; index++) {
                transfer.items.add(new File([`${index}`], `${index}.jpg`, { type: "image/jpeg" }));
            }
            window.longest = 0;
            let before = performance.now();
            const tick = (now) => {
                window.longest = Math.max(window.longest, now - before);
                before = now;
                requestAnimationFrame(tick);
            };
            requestAnimationFrame(tick);
            const drop = { dataTransfer: transfer, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", drop));
        }"""
    )
    expect(page.locator("#rows .row")).to_have_count(500)
    expect(page.locator("#overall-text")).to_be_in_viewport()  # the list begins below the first screen
    expect(page.locator("#overall-text")).to_have_text("498 photos done · 2 failed", timeout=FINISH_MS)
    assert max(map(len, streams)) <= 64
    assert len({job_id for ids in streams for job_id in ids}) == 500
    assert page.evaluate("window.longest") < 4000, "the page froze"
    # what failed is found among them, one after the other
    focused = page.locator(".row[data-state='failed']:focus-within")
    names = []
    for _ in broken:
        page.get_by_role("button", name="Next failed").click()
        expect(focused).to_be_in_viewport()
        names.append(focused.locator(".row-name").text_content())
    assert len(set(names)) == len(broken)
    assert_no_sideways_scroll(page)


def test_by_keyboard_alone(page: Page, photos: Path) -> None:
    # From now on Chromium hands choosers over; asked for only right before the key, it may come too late.
    page.on("filechooser", lambda _: None)
    page.goto("/")
    expect(page.locator("#model option").first).not_to_have_text("Loading…")
    order = []
    for _ in range(14):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus cannot be seen on {order[-1]}"
        if order[-1] == "score":
            break
    stops = ["skip", "pick-files", "pick-folder", "try-sample", "model", "score"]
    assert [name for name in order if name in stops] == stops

    before = page.locator("#score-value").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("#score-value").text_content() != before
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Frames to look at")).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label(re.compile("Overlap allowed"))).to_be_visible()
    expect(page.get_by_label("At most this many objects")).to_be_visible()
    page.locator("#options-reset").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#score-value")).to_have_text(before or "")

    page.locator("#pick-files").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(photos / "eagle.jpg")
    link = finished(page, "eagle.jpg").locator(".row-name a")
    link.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/view/"))
