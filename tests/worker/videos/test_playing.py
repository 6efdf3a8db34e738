"""The drawn video in a real browser: it plays to its end, at its own speed."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from shared.videos import VideoOptions
from tests.worker.videos.synthetic import find_squares, walk, write_video
from worker.videos import encoding
from worker.videos.limits import VideoLimits
from worker.videos.probing import probe
from worker.videos.processing import process_video

pytestmark = pytest.mark.browser

_PLAY = """async () => {
    const video = document.createElement("video");
    video.muted = true;
    video.src = "/annotated.mp4";
    document.body.append(video);
    return await new Promise((resolve) => {
        const tell = (end) => resolve({end, time: video.currentTime, duration: video.duration,
            width: video.videoWidth, height: video.videoHeight,
            dropped: video.error ? video.error.message : ""});
        video.onended = () => tell("ended");
        video.onerror = () => tell("error");
        setTimeout(() => tell("timeout"), 20000);
        video.play().catch(() => tell("refused"));
    });
}"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("encoder", list(encoding._ENCODERS))
@pytest.mark.parametrize("sound", ["aac", "libopus", None])
def test_it_plays_to_the_end(
    tmp_path: Path, chromium: Browser, site: str, monkeypatch: pytest.MonkeyPatch, encoder: str, sound: str | None
) -> None:
    monkeypatch.setattr(encoding, "_ENCODERS", {encoder: encoding._ENCODERS[encoder]})
    path = write_video(
        tmp_path / "video.mkv", walk(31, width=161, height=121), sound=sound, codec="ffv1", pix_fmt="bgr0"
    )
    process_video(path, probe(path, VideoLimits()), VideoOptions(start=0.5, end=2.5), find_squares, tmp_path)
    page = chromium.new_page()
    page.goto(site)
    played = page.evaluate(_PLAY)
    page.close()
    assert played["end"] == "ended", played
    assert played["duration"] == pytest.approx(2, abs=0.1)
    assert played["time"] == pytest.approx(played["duration"], abs=0.1)
    assert (played["width"], played["height"]) == (162, 122)
