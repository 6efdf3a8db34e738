"""The page of one result: the link that one sends to a friend."""

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from shared.queue import connect, keys
from tests.browser.conftest import FINISH_MS, Live, OpenContext, Screenshot, Upload, Watch
from tests.browser.pages import PHONE, assert_accessible, assert_no_sideways_scroll, variant

pytestmark = [pytest.mark.browser, pytest.mark.stack]


@pytest.fixture
def dog(upload: Upload, data_dir: Path) -> dict[str, Any]:
    return upload(data_dir / "photos" / "dog.jpg")


def test_every_object_is_a_box_and_a_line(page: Page, dog: dict[str, Any], screenshot: Screenshot) -> None:
    page.goto(dog["links"]["view"])
    found = dog["result"]["detections"]
    expect(page.locator("h1")).to_have_text(dog["result"]["text"])
    expect(page.locator(".overlay g")).to_have_count(len(found))
    expect(page.locator(".objects tbody tr")).to_have_count(len(found))
    page.wait_for_function("() => document.querySelector('#image').naturalWidth > 0")
    expect(page.locator("#image")).to_have_attribute("src", dog["links"]["original"])
    for index, detection in enumerate(found):
        box = page.locator(f'.overlay g[data-index="{index}"]')
        expect(box).to_have_attribute("aria-label", f"{detection['label']}, {round(detection['score'] * 100)} %")
        colour = box.evaluate("element => getComputedStyle(element.querySelector('.edge')).stroke")
        red, green, blue = (int(dog["colours"][detection["label"]][at : at + 2], 16) for at in (1, 3, 5))
        assert colour == f"rgb({red}, {green}, {blue})"
    assert_accessible(page)
    screenshot(page, "view-light")


def test_boxes_lie_where_the_objects_are(page: Page, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])
    image = page.locator("#image").bounding_box()
    assert image is not None
    source = dog["result"]["source"]
    scale = image["width"] / source["width"]
    assert image["height"] == pytest.approx(source["height"] * scale, abs=1)
    for index, detection in enumerate(dog["result"]["detections"]):
        edge = page.locator(f'.overlay g[data-index="{index}"] .edge').bounding_box()
        assert edge is not None
        left, top, right, bottom = detection["box"]
        assert edge["x"] - image["x"] == pytest.approx(left * scale, abs=4)
        assert edge["y"] - image["y"] == pytest.approx(top * scale, abs=4)
        assert edge["width"] == pytest.approx((right - left) * scale, abs=8)
        assert edge["height"] == pytest.approx((bottom - top) * scale, abs=8)


def test_pointing_at_a_box_or_a_line_lights_up_both(page: Page, dog: dict[str, Any], screenshot: Screenshot) -> None:
    page.goto(dog["links"]["view"])
    index = next(index for index, found in enumerate(dog["result"]["detections"]) if found["label"] == "dog")
    box, line = page.locator(f'.overlay g[data-index="{index}"]'), page.locator(f'.objects tr[data-index="{index}"]')
    box.locator(".edge").hover()
    expect(box).to_have_class(re.compile("active"))
    expect(line).to_have_class(re.compile("active"))
    expect(page.locator(".tag.active")).to_have_text(re.compile(r"dog \d+ %"))
    screenshot(page, "view-hover")
    page.mouse.move(2, 2)
    expect(page.locator(".active")).to_have_count(0)
    line.hover()
    expect(box).to_have_class(re.compile("active"))


def test_labels_are_switched_off_and_on(page: Page, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])
    others = sum(found["label"] != "dog" for found in dog["result"]["detections"])
    everything = len(dog["result"]["detections"])
    switch = page.get_by_role("checkbox", name=re.compile(r"\d dog"))
    page.locator("#label-switches label", has_text="dog").click()
    expect(switch).not_to_be_checked()
    expect(page.locator('.overlay g[data-label="dog"]:not(.off)')).to_have_count(0)
    expect(page.locator(".overlay g:not(.off)")).to_have_count(others)
    expect(page.locator(".objects tbody tr:visible")).to_have_count(others)
    expect(page.locator("#shown-count")).to_have_text(f"{others} of {everything} objects shown")
    page.get_by_role("button", name="Show all").click()
    expect(switch).to_be_checked()
    expect(page.locator(".overlay g:not(.off)")).to_have_count(everything)


def test_the_slider_hides_the_less_certain(page: Page, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])
    surer = sum(found["score"] >= 0.8 for found in dog["result"]["detections"])
    page.locator("#min-score").fill("0.8")
    expect(page.locator(".overlay g:not(.off)")).to_have_count(surer)
    expect(page.locator("#min-score-value")).to_have_text("80 %")


def test_the_boxes_come_off(page: Page, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])
    expect(page.locator(".overlay")).to_be_visible()
    page.get_by_role("switch", name="Boxes on the picture").click()
    expect(page.locator(".overlay")).to_be_hidden()
    expect(page.locator(".tag:visible")).to_have_count(0)


def test_the_table_sorts(page: Page, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])
    labels = page.locator(".objects tbody td:first-child")
    by_score = [found["label"] for found in sorted(dog["result"]["detections"], key=lambda found: -found["score"])]
    assert labels.all_text_contents() == by_score
    page.get_by_role("button", name="Label").click()
    assert labels.all_text_contents() == sorted(by_score)
    expect(page.locator("th", has_text="Label")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Label").click()
    assert labels.all_text_contents() == sorted(by_score, reverse=True)


def test_downloads(page: Page, dog: dict[str, Any], data_dir: Path) -> None:
    page.goto(dog["links"]["view"])
    for name, ending in (("Drawn picture", ".jpg"), ("Original", ".jpg"), ("JSON", ".json"), ("CSV", ".csv")):
        with page.expect_download() as download:
            page.locator("#downloads").get_by_role("link", name=name).click()
        assert download.value.suggested_filename.endswith(ending)
        content = Path(download.value.path()).read_bytes()
        assert content
        if name == "Original":
            assert content == (data_dir / "photos" / "dog.jpg").read_bytes()
        if name == "CSV":
            lines = content.decode().splitlines()
            assert lines[0] == "label,score,left,top,right,bottom"
            assert len(lines) == 1 + len(dog["result"]["detections"])


def test_boxes_by_keyboard(page: Page, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])
    stops = page.locator('.overlay g[tabindex="0"]')
    expect(stops).to_have_count(1)
    stops.focus()
    first = page.locator(".overlay g.active").get_attribute("data-index")
    page.keyboard.press("ArrowRight")
    expect(stops).to_have_count(1)
    assert page.locator(".overlay g.active").get_attribute("data-index") != first
    assert page.evaluate("document.activeElement.getAttribute('tabindex')") == "0"
    page.keyboard.press("Escape")
    expect(page.locator(".overlay g.active")).to_have_count(0)


def test_it_waits_for_the_result_by_itself(page: Page, upload: Upload, data_dir: Path, tmp_path: Path) -> None:
    photos = sorted((data_dir / "photos").glob("*.jpg"))[:8]
    for index, photo in enumerate(photos):
        upload(variant(photo, tmp_path, f"before-{index}-{photo.name}"), finished=False)
    last = upload(variant(data_dir / "photos" / "dog.jpg", tmp_path, "last.jpg"), finished=False)
    held: list[Route] = []
    page.route("**/original", lambda route: held.append(route))
    page.goto(last["url"], wait_until="domcontentloaded")  # its photo is held, if it is there already
    page.evaluate("window.stayed = true")
    expect(page.locator("#view")).to_have_attribute("data-state", "finished", timeout=FINISH_MS)
    expect(page.locator("h1")).to_contain_text("in this picture")
    # No boxes over a photo that is still on its way.
    expect(page.locator("#picture")).to_have_attribute("data-image", "loading")
    expect(page.locator(".tag")).not_to_have_count(0)
    expect(page.locator(".tag:visible, .overlay g:visible")).to_have_count(0)
    held[0].continue_()
    expect(page.locator(".overlay g").first).to_be_visible()
    assert page.evaluate("document.querySelector('#image').naturalWidth") > 0
    assert page.evaluate("window.stayed") is True


def test_a_failed_job_says_why(page: Page, watch: Watch, dog: dict[str, Any], screenshot: Screenshot) -> None:
    """The states as the server would send them, put into the page on its way."""
    watch.expected.append("/events")
    page.goto(dog["links"]["view"])
    job = page.evaluate("JSON.parse(document.getElementById('job-data').textContent)")
    failed = job | {"state": "failed", "result": None, "error": {"code": "bad_image", "message": "It is cut off."}}
    page.route("**/events", lambda route: route.abort())
    page.route(f"**{dog['links']['self']}", lambda route: route.fulfill(json=failed))
    queued = job | {"state": "queued", "result": None, "position": 3}
    html = page.request.get(dog["links"]["view"], headers={"Accept": "text/html"}).text()
    pattern = re.compile(r'(<script type="application/json" id="job-data">).*?(</script>)', re.DOTALL)
    body = pattern.sub(lambda match: match[1] + json.dumps(queued).replace("<", "\\u003c") + match[2], html)
    page.route(f"**{dog['links']['view']}", lambda route: route.fulfill(content_type="text/html", body=body))
    page.goto(dog["links"]["view"])
    expect(page.locator("#pending-title")).to_have_text("This did not work")
    expect(page.locator("#pending-text")).to_contain_text("It is cut off.")
    expect(page.locator("#pending-text code")).to_have_text("bad_image")
    screenshot(page, "view-failed")


def break_job(live: Live, job_id: str, code: str, **fields: str) -> None:
    """Have a finished job failed, as a worker leaves one behind."""
    shutil.rmtree(live.data_dir / "storage" / "results" / job_id, ignore_errors=True)
    with connect(f"unix://{live.data_dir}/run/redis.sock", patient=False) as redis:
        job = Job.fetch(job_id, connection=redis, serializer=JSONSerializer)
        job.set_status(JobStatus.FAILED)
        job.kwargs = {"request": job.kwargs["request"] | fields}
        redis.hset(job.key, "data", job.data)
        redis.hset(job.key, keys.ERROR, json.dumps({"code": code, "message": "So it is."}))
        redis.zrem(f"rq:finished:{job.origin}", job_id)
        redis.zadd(f"rq:failed:{job.origin}", {job_id: time.time() + 600})


def test_a_failed_job_is_tried_again(
    open_context: OpenContext, live: Live, watch: Watch, upload: Upload, data_dir: Path, tmp_path: Path
) -> None:
    job = upload(variant(data_dir / "photos" / "dog.jpg", tmp_path, "again.jpg"))
    page = open_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()
    done = page.locator("#view[data-state=finished]")
    again = page.get_by_role("button", name="Try again")

    # by keyboard, on the page that the link leads to
    break_job(live, job["id"], "crashed")
    page.goto(job["links"]["view"])
    expect(page.locator("#pending-text")).to_contain_text("So it is.")
    again.focus()
    page.keyboard.press("Enter")
    expect(done).to_be_attached(timeout=FINISH_MS)
    expect(page.locator("h1")).to_have_text(job["result"]["text"])
    expect(page.locator("h1")).to_be_focused()
    assert page.url.endswith(job["links"]["view"])

    # on the operators' page, where the button has to be seen
    break_job(live, job["id"], "internal")
    page.goto("/status")
    retry = page.get_by_role("button", name="Retry again.jpg")
    box = retry.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= PHONE["width"]
    assert retry.evaluate(
        "button => { const area = button.closest('.scroll'); return area.scrollWidth <= area.clientWidth; }"
    )
    retry.tap()
    expect(page.get_by_role("main").get_by_role("status")).to_have_text("The job is back in the queue.")
    page.goto(job["links"]["view"])
    expect(done).to_be_attached(timeout=FINISH_MS)

    # one that was late is begun anew: its limit has passed
    break_job(live, job["id"], "expired")
    page.goto(job["links"]["view"])
    again.tap()
    page.wait_for_url(lambda url: job["id"] not in url)
    expect(done).to_be_attached(timeout=FINISH_MS)

    # so is one that failed of something else, if its limit has passed since; and a double click is one press
    break_job(live, job["id"], "crashed", deadline="2026-01-01T00:00:00Z")
    made: list[str] = []
    page.on("request", lambda request: made.append(request.url) if request.url.endswith("/again") else None)
    page.goto(job["links"]["view"])
    watch.expected.append("409")
    again.dblclick()
    page.wait_for_url(lambda url: job["id"] not in url)
    expect(done).to_be_attached(timeout=FINISH_MS)
    assert len(made) == 1

    # a fault of the file stays one, and what is gone is said to be
    break_job(live, job["id"], "bad_image")
    page.goto(job["links"]["view"])
    expect(page.locator("#pending-advice")).to_contain_text("The same file would fail again.")
    expect(again).to_have_count(0)
    break_job(live, job["id"], "timeout")
    next((live.data_dir / "storage" / "inputs").glob(f"{job['id']}*")).unlink()
    page.reload()
    watch.expected.append("410")
    again.press("Enter")
    expect(page.locator("#pending-text")).to_have_text("The uploaded file is no longer there. input_gone")
    expect(again).to_have_count(0)
    expect(page.get_by_role("link", name="Upload it again")).to_be_visible()
    expect(page.locator("#pending :focus")).to_have_count(1)


def test_a_format_that_browsers_cannot_show_is_shown_drawn(page: Page, watch: Watch, dog: dict[str, Any]) -> None:
    watch.expected.append(dog["links"]["original"])
    page.route(f"**{dog['links']['original']}", lambda route: route.abort())
    page.goto(dog["links"]["view"])
    expect(page.locator("#image")).to_have_attribute("src", dog["links"]["image"])
    expect(page.locator("#stage-note")).to_contain_text("drawn picture")
    expect(page.locator(".overlay.burned g")).to_have_count(len(dog["result"]["detections"]))
    # And if neither comes, no boxes stand for it.
    watch.expected.append(dog["links"]["image"])
    page.route(f"**{dog['links']['image']}", lambda route: route.abort())
    page.reload()
    expect(page.locator("#stage-note")).to_contain_text("could not be loaded")
    expect(page.locator(".overlay g:visible")).to_have_count(0)


def test_what_a_messenger_reads_of_the_link(page: Page, live: Live, dog: dict[str, Any]) -> None:
    page.goto(dog["links"]["view"])

    def meta(name: str) -> str | None:
        return page.locator(f'meta[property="{name}"]').get_attribute("content")

    assert meta("og:title") == dog["result"]["text"]
    assert meta("og:image") == live.url.rstrip("/") + dog["links"]["image"]
    assert meta("og:url") == page.url


def test_without_javascript(open_context: OpenContext, dog: dict[str, Any]) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto(dog["links"]["view"])
    expect(page.locator("h1")).to_have_text(dog["result"]["text"])
    expect(page.locator("img.plain-image")).to_be_visible()
    expect(page.locator(".objects tbody tr")).to_have_count(len(dog["result"]["detections"]))


def test_delete_asks_first(page: Page, watch: Watch, upload: Upload, data_dir: Path, tmp_path: Path) -> None:
    watch.expected.append("404")
    job = upload(variant(data_dir / "photos" / "eagle.jpg", tmp_path, "doomed.jpg"))
    page.goto(job["links"]["view"])
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert page.request.get(job["links"]["self"]).ok
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#dropzone")).to_be_visible()
    assert page.request.get(job["links"]["self"]).status == 404


def test_nothing_here(page: Page, watch: Watch, screenshot: Screenshot) -> None:
    watch.expected.append("404")
    page.goto("/view/no-such-job")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    expect(page.get_by_role("link", name="To the start page")).to_be_visible()
    screenshot(page, "not-found")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(open_context: OpenContext, dog: dict[str, Any], screenshot: Screenshot, scheme: str) -> None:
    page = open_context(viewport=PHONE, color_scheme=scheme, has_touch=True, is_mobile=True).new_page()
    page.goto(dog["links"]["view"])
    expect(page.locator(".overlay g").first).to_be_visible()
    assert_no_sideways_scroll(page)
    page.locator('.overlay g[data-label="dog"] .edge').tap()
    expect(page.locator(".tag.active")).to_be_visible()
    screenshot(page, f"view-phone-{scheme}")


def test_in_the_dark(open_context: OpenContext, upload: Upload, data_dir: Path, screenshot: Screenshot) -> None:
    job = upload(data_dir / "photos" / "street.jpg")
    page = open_context(color_scheme="dark").new_page()
    page.goto(job["links"]["view"])
    expect(page.locator("#shown")).to_be_visible()
    screenshot(page, "view-street-dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_documentation(open_context: OpenContext, watch: Watch, screenshot: Screenshot, scheme: str) -> None:
    watch.expected.append("Could not find component: JsonSchema")  # Swagger UI's own remark, about nothing that shows
    page = open_context(color_scheme=scheme).new_page()
    page.goto("/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    page.locator(".opblock", has_text="/upload").first.locator(".opblock-summary").click()
    expect(page.get_by_role("button", name=re.compile("Execute")).first).to_be_visible()
    screenshot(page, f"docs-{scheme}")


def test_an_upload_from_the_documentation(page: Page, data_dir: Path, watch: Watch) -> None:
    """With a file alone: the form is sent as the page has filled it in."""
    watch.expected.append("Could not find component: JsonSchema")  # as above
    page.set_default_timeout(15_000)
    page.goto("/docs")
    block = page.locator(".opblock-post", has_text="/upload").first
    block.locator(".opblock-summary").click()
    block.locator("input[type=file]").set_input_files(data_dir / "photos" / "dog.jpg")
    with page.expect_response("**/upload") as answer:
        block.get_by_role("button", name="Execute").click()
    assert answer.value.status in (200, 202), answer.value.text()


def test_look_again_with_other_options(page: Page, dog: dict[str, Any], screenshot: Screenshot) -> None:
    page.goto(dog["links"]["view"])
    page.get_by_text("Look again with another model").click()
    form = page.locator("#again-form")
    expect(form.get_by_label("Model")).to_have_value(dog["model"])
    form.get_by_role("button", name="Look again").click()
    expect(page.locator("#toasts")).to_contain_text("These are the options of this result.")
    form.get_by_label("Certainty of at least").fill("0.85")
    screenshot(page, "view-again")
    form.get_by_role("button", name="Look again").click()
    page.wait_for_url(lambda url: dog["id"] not in url)
    expect(page.locator("#view")).to_have_attribute("data-state", "finished", timeout=FINISH_MS)
    surer = [found for found in dog["result"]["detections"] if found["score"] > 0.85]
    assert 0 < len(surer) < len(dog["result"]["detections"])
    expect(page.locator(".objects tbody tr")).to_have_count(len(surer))
