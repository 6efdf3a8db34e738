"""Real streams from local cameras, at real time pace."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import av
import pytest

from shared.errors import BadInputError
from shared.safe_http import SafeClient
from shared.stream_urls import parse_stream_url, stream_client
from shared.streams import StreamOptions, StreamProgress, StreamState
from tests.worker.streams.servers import Camera, RtspCamera
from tests.worker.videos.synthetic import find_squares
from worker.streams.recording import Recorder
from worker.streams.sources import Patience
from worker.streams.watching import End, Order, Plan, Watcher
from worker.videos.limits import VideoLimits

PATIENCE = Patience(connect=3, idle=3, first=2, longest_pause=1)


class Shelf:
    """A store in memory."""

    def __init__(self) -> None:
        self.latest: list[bytes] = []
        self.segments: dict[int, bytes] = {}

    def put_latest(self, jpeg: bytes) -> bool:
        self.latest.append(jpeg)
        return True

    def put_segment(self, number: int, file: Path) -> bool:
        self.segments[number] = file.read_bytes()
        return True

    def drop_segment(self, number: int) -> bool:
        del self.segments[number]
        return True


class Watch:
    """Watches until `until` says that it is enough."""

    def __init__(self, folder: Path, *, length: float = 1, kept: float = 60, limit: float = 30) -> None:
        self.folder = folder
        self.length, self.kept, self.limit = length, kept, limit
        self.shelf = Shelf()
        self.told: list[StreamProgress] = []
        self.client = stream_client("127.0.0.1")

    def run(self, url: str, until: Callable[[StreamProgress], bool], slow: float = 0) -> End:
        options = StreamOptions(fps=10)
        self.state = StreamState(started_at=datetime.now(UTC))
        recorder = Recorder(self.folder, options, self.length, self.kept, self.shelf, self.state, lambda: True)

        def tell(progress: StreamProgress, state: StreamState) -> Order:
            self.told.append(progress)
            return Order.STOP if until(progress) else Order.GO_ON

        def predict(pixels: object) -> object:
            time.sleep(slow)
            return find_squares([pixels])[0]  # type: ignore[list-item]

        plan = Plan(parse_stream_url(url), self.client, options, self.limit, PATIENCE, VideoLimits())
        watcher = Watcher(plan, self.state, predict, recorder, tell)  # type: ignore[arg-type]
        try:
            return watcher.run()
        finally:
            recorder.close()
            self.state = watcher.state()


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(tmp_path)


@pytest.fixture
def camera() -> Iterator[Camera]:
    camera = Camera()
    yield camera
    camera.die()


def frames(count: int) -> Callable[[StreamProgress], bool]:
    return lambda progress: progress.frames >= count


def refused(watch: Watch, url: str) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        watch.run(url, lambda _: False)
    return caught.value


@pytest.mark.parametrize("path", ["live.ts", "live.mjpg", "live.m3u8"])
def test_http(camera: Camera, watch: Watch, path: str) -> None:
    url = camera.url.replace("//", "//anna:secret@") + f"/{path}"
    assert watch.run(url, frames(25)) == "stopped"
    assert watch.state.totals.counts == {"square": 1}
    assert [event.kind for event in watch.state.events][:2] == ["connected", "appeared"]
    assert camera.seen[0][1]["Authorization"] == "Basic YW5uYTpzZWNyZXQ="
    assert "secret" not in watch.state.model_dump_json()
    # drawn video that can be decoded, with all the time in it
    assert len(watch.shelf.segments) == len(watch.state.segments) >= 2
    for segment in watch.state.segments:
        path_of = watch.folder / "check.mp4"
        path_of.write_bytes(watch.shelf.segments[segment.number])
        with av.open(str(path_of)) as container:
            assert sum(1 for _ in container.decode(video=0)) == segment.frames
    assert sum(segment.frames for segment in watch.state.segments) == watch.state.frames
    assert 2 <= len(watch.shelf.latest) <= 4 * watch.told[-1].seconds + 2


@pytest.mark.parametrize("authorization", ["", "Basic YW5uYTpzZWNyZXQ="])
def test_rtsp(watch: Watch, authorization: str) -> None:
    camera = RtspCamera(authorization=authorization)
    try:
        assert watch.run(camera.url.replace("//", "//anna:secret@"), frames(15)) == "stopped"
    finally:
        camera.die()
    assert watch.state.totals.counts == {"square": 1}


def test_old_video_goes(camera: Camera, watch: Watch) -> None:
    watch.kept = 2
    watch.run(f"{camera.url}/live.m3u8", frames(50))
    assert watch.state.last_segment >= 4
    assert set(watch.shelf.segments) == {segment.number for segment in watch.state.segments}
    assert 2 <= len(watch.state.segments) <= 3
    assert watch.state.segments[-1].number == watch.state.last_segment


def test_a_slow_model_sees_the_newest_frame(camera: Camera, watch: Watch) -> None:
    watch.run(f"{camera.url}/live.mjpg", frames(6), slow=0.4)
    assert watch.told[-1].dropped >= 10
    assert watch.told[-1].seconds < 6


def test_what_breaks_off_and_comes_back(watch: Watch) -> None:
    camera = Camera()
    port, cameras = camera.server_port, [camera]

    def come_back() -> None:
        cameras.append(Camera(port))

    def until(progress: StreamProgress) -> bool:
        if progress.frames >= 10 and len(cameras) == 1 and not cameras[0].ending.is_set():
            cameras[0].die()
            threading.Timer(1.5, come_back).start()
        return progress.totals.counts == {"square": 2}  # who is there afterwards is new

    try:
        assert watch.run(f"{camera.url}/live.ts", until) == "stopped"
    finally:
        cameras[-1].die()
    kinds = [event.kind for event in watch.state.events]
    assert kinds[:2] == ["connected", "appeared"]
    assert kinds.index("lost") < kinds.index("connected", 1)
    assert watch.state.connections == 2
    assert {"reconnecting", "running"} <= {progress.phase for progress in watch.told}


def test_the_limit_and_the_end(camera: Camera, watch: Watch) -> None:
    watch.limit = 2
    assert watch.run(f"{camera.url}/live.mjpg", lambda _: False) == "limit"
    camera.playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{camera.url}/segment-1.ts\n#EXT-X-ENDLIST"
    watch.limit = 30
    assert watch.run(f"{camera.url}/evil.m3u8", lambda _: False) == "ended"
    assert 0 < watch.state.frames <= 10, "a busy machine drops some"


@pytest.mark.parametrize(("path", "code"), [("page", "bad_video"), ("missing", "url_failed")])
def test_what_was_never_a_stream(camera: Camera, watch: Watch, path: str, code: str) -> None:
    assert refused(watch, f"{camera.url}/{path}").code == code


# -- nobody is led elsewhere


@pytest.mark.parametrize(
    "named",
    ["file:///etc/passwd", "http://10.0.0.1/a.ts", "http://[::1]:{port}/segment-1.ts", "concat:http://127.0.0.1/a|b"],
)
def test_a_playlist_leads_nowhere(camera: Camera, watch: Watch, named: str) -> None:
    camera.playlist = f"#EXTM3U\n#EXTINF:1,\n{named.format(port=camera.server_port)}\n"
    assert refused(watch, f"{camera.url}/evil.m3u8").code == "url_refused"
    assert [path for path, _ in camera.seen] == ["/evil.m3u8", "/evil.m3u8"]


def test_redirects_lead_nowhere(camera: Camera, watch: Watch) -> None:
    assert refused(watch, f"{camera.url}/redirect?http://10.0.0.1/live.ts").code == "url_refused"
    server = RtspCamera(redirect=f"rtsp://127.0.0.1:{camera.server_port}/")
    try:
        assert refused(watch, server.url).code == "url_refused"
    finally:
        server.die()
    assert len(camera.seen) == 1


def test_a_name_that_changes_its_address_ends_the_stream(camera: Camera, watch: Watch) -> None:
    """DNS rebinding: allowed at first, another machine of the inner net when it is connected to again."""
    addresses = ["127.0.0.1"]
    watch.client = SafeClient(lambda address: str(address) == "127.0.0.1", lambda _host, _port: addresses)

    def until(progress: StreamProgress) -> bool:
        if progress.frames >= 5 and addresses == ["127.0.0.1"]:
            addresses[:] = ["127.0.0.2"]
            camera.cut()
        return False

    with pytest.raises(BadInputError) as caught:
        watch.run(f"http://cam.example:{camera.server_port}/live.mjpg", until)
    assert caught.value.code == "url_refused"
    assert [path for path, _ in camera.seen] == ["/live.mjpg"]
