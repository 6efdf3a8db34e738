"""Headless Chromium, and a watch over everything a page must not do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

SCREENSHOTS = Path(__file__).parent.parent / "screenshots"
FINISH_MS = 60_000


class Live(Protocol):
    """A running stack."""

    url: str
    data_dir: Path


class Watch:
    """What went wrong on the pages of a test: console errors, exceptions, requests to elsewhere.

    Args:
        origin: where requests may go.
    """

    def __init__(self, origin: str) -> None:
        self.origin = origin
        #: parts of messages that a test brings about on purpose
        self.expected: list[str] = []
        self.messages: list[str] = []
        self.elsewhere: list[str] = []

    def follow(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.messages.append(f"exception: {error}"))
        page.on("request", self._request)

    def check(self) -> None:
        unexpected = [text for text in self.messages if not any(part in text for part in self.expected)]
        assert unexpected == []
        assert self.elsewhere == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.messages.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and f"{address.scheme}://{address.netloc}" != self.origin:
            self.elsewhere.append(request.url)


@pytest.fixture
def watch(live: Live) -> Iterator[Watch]:
    """Checked after each test: nothing on the console, nothing from elsewhere."""
    watch = Watch(live.url.rstrip("/"))
    yield watch
    watch.check()


OpenContext = Callable[..., BrowserContext]


@pytest.fixture
def open_context(chromium: Browser, live: Live, watch: Watch) -> Iterator[OpenContext]:
    """Makes a browser context (a window of its own: size, colours, storage) whose pages are watched."""
    contexts: list[BrowserContext] = []

    def make(**options: object) -> BrowserContext:
        settings: dict[str, object] = {"base_url": live.url, "viewport": {"width": 1280, "height": 860}}
        context = chromium.new_context(**(settings | options))  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        context.on("page", watch.follow)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def photos(data_dir: Path) -> Path:
    """The folder of photos."""
    return data_dir / "photos"


@pytest.fixture
def page(open_context: OpenContext) -> Page:
    """A page of a desktop browser."""
    return open_context().new_page()


Upload = Callable[..., dict[str, Any]]


@pytest.fixture
def upload(open_context: OpenContext) -> Upload:
    """Uploads a photo as `curl` would and gives the answer, or with `finished` the whole job."""
    request = open_context().request

    def send(photo: Path, *, finished: bool = True, name: str = "", **options: str) -> dict[str, Any]:
        file = {"name": name or photo.name, "mimeType": "image/jpeg", "buffer": photo.read_bytes()}
        answer = request.post("/upload", multipart={"file": file, **options})  # type: ignore[dict-item]
        assert answer.ok, answer.text()
        taken: dict[str, Any] = answer.json()
        if not finished:
            return taken
        for _ in range(FINISH_MS // 250):
            job: dict[str, Any] = request.get(taken["status_url"]).json()
            if job["state"] not in ("queued", "running"):
                assert job["state"] == "finished", job["error"]
                return job
            request.get(f"{taken['status_url']}?wait=0.25")
        raise AssertionError("not finished in time")

    return send


Screenshot = Callable[[Page, str], None]


@pytest.fixture
def screenshot() -> Screenshot:
    """Keeps a picture of the whole page in tests/screenshots, for a person to look at."""

    def take(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        page.wait_for_timeout(250)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return take
