"""Videos on the pages: what came of them, how far they are, and where people are counted."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from shared.jobs import JobOptions, input_key, new_job_id, result_key
from shared.settings import Settings
from shared.storage import Storage, open_storage
from shared.videos import VideoOptions, VideoSource
from tests.browser.conftest import FINISH_MS, Live, OpenContext, Screenshot, Upload, Watch
from tests.browser.pages import PHONE, assert_accessible, assert_no_sideways_scroll, choose, finished
from tests.video_documents import video_result
from tests.worker.videos.synthetic import find_squares, walk, write_video
from worker.videos.limits import VideoLimits
from worker.videos.probing import probe
from worker.videos.processing import process_video

pytestmark = [pytest.mark.browser, pytest.mark.stack]

WIDTH, HEIGHT = 320, 240
#: 2.4 seconds in which a square goes from left to right, over the line in the middle
FRAMES, FPS = 48, 20
OPTIONS = VideoOptions(line=(0.25, 0.0, 0.25, 1.0), zone=((0.3, 0.0), (1.0, 0.0), (1.0, 1.0), (0.3, 1.0)))


@pytest.fixture(scope="module")
def storage(live: Live) -> Storage:
    """That of the running service."""
    return open_storage(Settings(data_dir=live.data_dir))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = walk(FRAMES, width=WIDTH, height=HEIGHT)
    return write_video(tmp_path_factory.mktemp("clip") / "walk.mp4", [*frames, *frames[-1:]], fps=FPS)


def store(storage: Storage, clip: Path, folder: Path, options: VideoOptions) -> str:
    """Put a finished video into the storage, as a worker would, made by its own code but for the model."""
    job_id, data = new_job_id(), clip.read_bytes()
    folder.mkdir()
    found = probe(clip, VideoLimits())
    findings = process_video(clip, found, options, find_squares, folder)
    result = video_result(
        job_id,
        findings,
        source=VideoSource(
            filename="walk.mp4",
            content_type="video/mp4",
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width=WIDTH,
            height=HEIGHT,
            format=found.facts.format,
            frames=findings.frames,
            duration=found.facts.duration,
            fps=found.facts.fps,
            codec=found.facts.codec,
        ),
        options=JobOptions().of_task("detection"),
        video_options=options,
    )
    storage.put(input_key(job_id, ".mp4"), data)
    for artifact in findings.artifacts:
        storage.put(result_key(job_id, artifact.name), (folder / artifact.name).read_bytes())
    storage.put(result_key(job_id, "result.json"), result.to_json())
    return job_id


Stored = Callable[[VideoOptions], str]


@pytest.fixture(scope="module")
def stored(storage: Storage, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Gives the id of a finished video with these options, made once."""
    made: dict[VideoOptions, str] = {}
    root = tmp_path_factory.mktemp("made")

    def make(options: VideoOptions) -> str:
        if options not in made:
            made[options] = store(storage, clip, root / str(len(made)), options)
        return made[options]

    yield make
    shutil.rmtree(root)


@pytest.fixture
def walked(page: Page, stored: Stored) -> dict[str, Any]:
    """The page of a finished video, open; and its job."""
    page.goto(f"/view/{stored(OPTIONS)}")
    page.wait_for_function("() => document.querySelector('#video').readyState >= 1")
    job: dict[str, Any] = page.evaluate("JSON.parse(document.getElementById('job-data').textContent)")
    return job


def now(page: Page) -> float:
    return float(page.evaluate("document.querySelector('#video').currentTime"))


def test_it_plays_to_its_end(page: Page, walked: dict[str, Any], screenshot: Screenshot) -> None:
    assert walked["kind"] == "video"
    expect(page.locator("h1")).to_have_text("This video shows 1 square.")
    expect(page.locator("#video")).to_have_attribute("src", walked["links"]["video"])
    expect(page.locator("#video")).to_have_attribute("poster", walked["links"]["image"])
    assert_accessible(page)
    page.locator("#video").focus()
    page.keyboard.press("Space")  # the browser's own controls
    page.wait_for_function("() => document.querySelector('#video').ended")
    assert now(page) == pytest.approx(walked["result"]["duration"], abs=0.1)
    expect(page.locator(".numbers .tag:visible")).to_have_text(["#1"])
    screenshot(page, "video-light")


def seek_by(page: Page, control: Locator, press: Callable[[Locator], object]) -> float:
    """Where the video is after something was pressed."""
    page.evaluate("window.sought = 0; document.querySelector('#video').onseeked = () => window.sought++")
    press(control)
    page.wait_for_function("() => window.sought > 0")
    return now(page)


def test_the_timeline_seeks(page: Page, walked: dict[str, Any]) -> None:
    duration = walked["result"]["duration"]
    lanes = page.get_by_role("slider", name="Place in the video")
    box = lanes.bounding_box()
    assert box is not None
    middle = box["width"] / 2
    assert seek_by(page, lanes, lambda it: it.click(position={"x": middle, "y": 15})) == pytest.approx(
        duration / 2, abs=0.05
    )
    expect(lanes).to_have_attribute("aria-valuetext", re.compile("^0:01: square 1$"))
    assert seek_by(page, lanes, lambda it: it.press("ArrowRight")) == pytest.approx(duration / 2 + 1, abs=0.05)
    assert seek_by(page, lanes, lambda it: it.press("Home")) == pytest.approx(0, abs=0.05)
    # the same as a table
    page.get_by_text("As a table").click()
    rows = page.locator(".as-table tbody tr")
    assert "1" in (rows.last.text_content() or "")


def test_the_table_of_objects_seeks(page: Page, walked: dict[str, Any]) -> None:
    (track,) = walked["result"]["tracks"]
    row = page.locator(".tracks tbody tr")
    expect(row).to_have_count(1)
    assert seek_by(page, row.locator(".seek").last, Locator.click) == pytest.approx(track["last"], abs=0.05)
    expect(row).to_have_class(re.compile("active"))
    page.locator("#label-switches label", has_text="square").click()
    expect(row).to_be_hidden()
    expect(page.locator(".lane")).to_be_hidden()
    expect(page.locator(".numbers .tag:visible")).to_have_count(0)


def test_numbers_are_where_the_objects_are(page: Page, walked: dict[str, Any]) -> None:
    frames = page.request.get(f"{walked['links']['self']}/frames?limit=1000").json()["frames"]
    for frame in (frames[10], frames[-3]):
        page.evaluate("(time) => { document.querySelector('#video').currentTime = time + 0.001 }", frame["time"])
        place = page.locator(".numbered:visible")
        left, top, *_ = frame["detections"][0]["box"]
        expect(place).to_have_css("position", "absolute")
        page.wait_for_function(
            "([left]) => Math.abs(parseFloat(document.querySelector('.numbered')?.style.left) - left) < 0.01",
            arg=[100 * left / WIDTH],
        )
        player, tag = page.locator("#player").bounding_box(), place.bounding_box()
        assert player is not None
        assert tag is not None
        assert (tag["y"] - player["y"]) / player["height"] == pytest.approx(top / HEIGHT, abs=0.01)
    page.get_by_role("switch", name="Numbers on the video").click()
    expect(page.locator(".numbered:visible")).to_have_count(0)


def test_who_crossed_the_line(page: Page, walked: dict[str, Any]) -> None:
    # the square goes to the right, the line from top to bottom has its right hand to the left
    line, zone = page.locator("#crossings table").all()
    assert walked["result"]["line"]["to_left"] == {"square": 1}
    expect(line.locator("tbody tr")).to_have_text(re.compile(r"square\s*0\s*1"))
    expect(zone.locator("caption")).to_have_text("Were in the zone")
    shapes = page.get_by_role("img", name="the counting line and the counting zone")
    expect(shapes).to_be_visible()
    page.get_by_role("switch", name="Line and zone on the video").click()
    expect(shapes).to_be_hidden()


def test_downloads(page: Page, walked: dict[str, Any]) -> None:
    links = page.locator("#downloads").get_by_role("link")
    names = ["Drawn video", "Original", "Poster", "Preview", "JSON", "Frames", "CSV"]
    assert [name.strip() for name in links.all_text_contents()] == names
    for link in links.all():
        answer = page.request.get(link.get_attribute("href") or "")
        assert answer.ok
        assert answer.headers["content-disposition"].startswith("attachment")


def test_a_file_that_was_cut_says_so(page: Page, upload: Upload, data_dir: Path) -> None:
    page.goto(upload(data_dir / "videos" / "corrupted.mp4")["links"]["view"])
    expect(page.locator("#notes .banner")).to_contain_text(["cut short", "to be counted: tvmonitor"])
    expect(page.get_by_role("switch", name="Numbers on the video")).to_be_hidden()  # nothing was followed


def test_without_a_drawn_video_the_original_plays_with_boxes(page: Page, stored: Stored) -> None:
    page.goto(f"/view/{stored(VideoOptions(draw=False, start=0.5))}")
    expect(page.locator("#stage-note")).to_contain_text("as it came")
    page.locator(".tracks .seek").first.click()
    expect(page.locator(".numbers.boxes .numbered:visible .tag")).to_have_text("square #1")
    assert now(page) >= 0.5, "the original begins before what was looked at"


def test_a_line_is_drawn_and_counted_with(page: Page, walked: dict[str, Any], screenshot: Screenshot) -> None:
    page.get_by_text("Count with a line or a zone").click()
    expect(page.get_by_role("radio", name="also who crosses a line")).to_be_checked()
    numbers = page.locator(".points input")
    assert [field.input_value() for field in numbers.all()] == ["25", "0", "25", "100"]
    stage = page.locator(".editor-stage")
    page.get_by_label("To, from the top").scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.2 * box["height"], steps=4)
    page.mouse.up()
    drawn = [float(field.input_value()) for field in numbers.all()]
    assert drawn == pytest.approx([50, 90, 80, 20], abs=0.5)
    numbers.last.press("ArrowUp")
    numbers.first.fill("40")
    screenshot(page, "video-line")
    with page.expect_request("**/again") as sent:
        page.get_by_role("button", name="Count again with this line").click()
    form = parse_qs(sent.value.post_data or "", keep_blank_values=True)
    assert [float(part) for part in form["line"][0].split(",")] == pytest.approx([0.4, 0.9, 0.8, 0.21], abs=0.006)
    assert form["zone"] == [""]
    # a job of its own, which a real worker does
    page.wait_for_url(lambda url: "/view/" in url and walked["id"] not in url)
    expect(page.locator("#view")).to_have_attribute("data-state", "finished", timeout=FINISH_MS)
    expect(page.locator("#crossings")).to_contain_text("Crossed the line")
    expect(page.locator("h1")).to_contain_text("in this video")


def test_a_zone_by_keyboard(page: Page, watch: Watch, walked: dict[str, Any]) -> None:
    watch.expected.append("429")
    page.get_by_text("Count with a line or a zone").click()
    page.get_by_role("radio", name="also who is in a zone").check()
    expect(page.locator(".point")).to_have_count(4)
    page.get_by_role("button", name="Remove corner 2").press("Enter")
    page.get_by_label("Corner 1, from the left, in percent").fill("12.5")
    page.get_by_role("button", name="One more corner").press("Enter")
    bodies: list[str] = []

    def take(route: Route) -> None:
        bodies.append(route.request.post_data or "")
        route.fulfill(status=429, json={"error": {"code": "queue_full", "message": "Many are waiting."}})

    page.route("**/again", take)
    page.get_by_role("button", name="Count again with this zone").press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Many are waiting.")
    corners = parse_qs(bodies[0])["zone"][0].split()
    assert len(corners) == 4
    assert corners[0] == "0.125,0"
    assert walked["id"] in page.url


def test_progress_while_it_runs(
    page: Page, watch: Watch, stored: Stored, clip: Path, storage: Storage, screenshot: Screenshot
) -> None:
    """The states as the server would send them, put into the page on its way."""
    watch.expected.append("/events")
    job_id = stored(OPTIONS)
    page.goto(f"/view/{job_id}")
    done = page.evaluate("JSON.parse(document.getElementById('job-data').textContent)")
    picture = storage.get(result_key(job_id, "poster.jpg"))
    progress = {"phase": "inference", "percent": 43, "frames": 1234, "fps": 25.4, "seconds_left": 61, "live": 7}
    parts = {"done": 1, "running": 1, "total": 3, "percents": [100, 29, 0]}
    links = done["links"] | {"live": f"/jobs/{job_id}/preview.jpg"}
    running = done | {"state": "running", "result": None, "links": links, "progress": progress | {"parts": parts}}
    html = page.request.get(f"/view/{job_id}", headers={"Accept": "text/html"}).text()
    pattern = re.compile(r'(<script type="application/json" id="job-data">).*?(</script>)', re.DOTALL)
    body = pattern.sub(lambda match: match[1] + json.dumps(running).replace("<", "\\u003c") + match[2], html)
    page.route(f"**/view/{job_id}", lambda route: route.fulfill(content_type="text/html", body=body))
    asked: list[str] = []

    def live(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(content_type="image/jpeg", body=picture)

    page.route("**/preview.jpg*", live)
    # news come when the test says so
    news = {"job": running}
    page.route("**/events", lambda route: route.abort())
    page.route(f"**/jobs/{job_id}", lambda route: route.fulfill(json=news["job"]))
    page.goto(f"/view/{job_id}")
    expect(page.locator("#pending-title")).to_have_text("Looking at the video")
    expect(page.locator("#pending-text")).to_have_text("43 % · 1,234 frames · 25 frames/s · 61 s left")
    assert page.locator("#pending-bar").evaluate("bar => bar.value") == 43
    expect(page.get_by_role("img", name="1 of 3 parts done, 1 running")).to_be_visible()
    expect(page.locator(".part")).to_have_count(3)
    expect(page.locator(".part.done")).to_have_count(1)
    expect(page.locator("#live")).to_be_visible()
    assert_accessible(page)
    screenshot(page, "video-running")
    news["job"] = running | {"progress": progress | {"percent": 44, "live": 8, "parts": None}}
    expect(page.locator("#pending-text")).to_contain_text("44 %")
    expect(page.locator("#live")).to_have_attribute("src", re.compile(r"preview\.jpg\?8$"))
    expect(page.locator("#parts")).to_be_hidden()
    assert [address.partition("?")[2] for address in asked] == ["7", "8"]
    news["job"] = done
    expect(page.locator("h1")).to_have_text("This video shows 1 square.", timeout=30_000)
    expect(page.locator("#video")).to_be_visible()
    expect(page.locator("#pending")).to_be_hidden()


def test_dropped_with_options(page: Page, clip: Path, screenshot: Screenshot) -> None:
    asked: list[Route] = []
    page.route("**/models", lambda route: asked.append(route))
    page.goto("/")
    page.locator("#video-options summary").click()
    page.get_by_label("To", exact=True).fill("0:00")
    page.get_by_label("From", exact=True).fill("0:01")
    expect(page.locator("#video-wrong")).to_contain_text("The end comes after the start.")
    page.get_by_label("To", exact=True).fill("0:02")
    expect(page.locator("#video-wrong")).to_be_empty()
    page.get_by_label("Frames to look at").select_option("One of several")
    page.get_by_label("One frame of every").fill("4")
    asked[0].continue_()  # what comes from the server late leaves alone what was filled in
    expect(page.locator("#model option").first).not_to_have_text("Loading…")
    held: list[Route] = []
    page.route("**/upload", lambda route: held.append(route))
    choose(page, [clip])
    row = page.locator("#rows .row")
    row.scroll_into_view_if_needed()
    expect(row.locator("img")).to_have_attribute("src", re.compile("^blob:"))  # the first frame of the file itself
    page.wait_for_function("() => document.querySelector('.row img').naturalWidth > 0")
    with page.expect_response("**/upload") as answer:
        held[0].continue_()
    job = finished(page, "walk.mp4")
    expect(job.locator(".row-text")).to_contain_text("in this video")
    expect(row.locator("img")).to_have_attribute("src", re.compile(r"/results/.+/thumbnail\.jpg"))
    expect(page.locator("#overall-text")).to_have_text("1 video done")
    options = page.request.get(answer.value.json()["status_url"]).json()["video_options"]
    assert (options["start"], options["end"], options["every"]) == (1, 2, 4)
    job.hover()
    expect(row.locator("img")).to_have_attribute("src", re.compile(r"/results/.+/preview\.webp"))
    screenshot(page, "index-video-light")
    page.reload()
    tile = page.locator(".tile", has_text="walk.mp4").first
    expect(tile.locator(".moving")).to_have_text("Video")


def test_side_by_side(page: Page, stored: Stored, upload: Upload, data_dir: Path) -> None:
    photo = upload(data_dir / "photos" / "dog.jpg")
    page.goto(f"/compare?ids={stored(OPTIONS)},{photo['id']}")
    expect(page.locator("video.answer-picture")).to_have_count(1)
    expect(page.locator("#compare-table")).to_contain_text("square")


def test_without_javascript(open_context: OpenContext, stored: Stored) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto(f"/view/{stored(OPTIONS)}")
    expect(page.locator("h1")).to_have_text("This video shows 1 square.")
    expect(page.locator("video[controls]")).to_be_visible()
    expect(page.locator("table.objects").first).to_contain_text("square")
    expect(page.locator("table.objects caption", has_text="Crossed the line")).to_be_visible()
    for link in page.locator("noscript ~ ul a, ul a[href*=download]").all():
        assert page.request.get(link.get_attribute("href") or "").ok


def test_on_a_phone_in_the_dark(open_context: OpenContext, stored: Stored, screenshot: Screenshot) -> None:
    page = open_context(viewport=PHONE, color_scheme="dark", has_touch=True).new_page()
    page.goto(f"/view/{stored(OPTIONS)}")
    page.get_by_text("Count with a line or a zone").tap()
    expect(page.locator(".editor-stage img")).to_be_visible()
    stage = page.locator(".editor-stage")
    stage.tap(position={"x": 100, "y": 50})
    expect(page.get_by_label("To, from the top, in percent")).to_have_value("100")  # a tap is no line
    assert_no_sideways_scroll(page)
    screenshot(page, "video-phone-dark")
