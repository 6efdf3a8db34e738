"""`/streams`. The streamer is played by the tests."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from werkzeug.test import TestResponse

from shared.jobs import result_key
from shared.queue import WorkerInfo
from shared.queue.streams import StreamQueue
from shared.settings import Settings
from shared.streams import (
    LATEST_FRAME,
    StreamCounts,
    StreamOptions,
    StreamProgress,
    StreamResult,
    StreamSegment,
    StreamState,
    segment_key,
)
from web.app import create_app
from web.keys import hash_of, new_key
from web.services import EXTENSION, Services
from web.streams import StreamForm

from .conftest import announce

CAMERA = "rtsp://anna:secret@10.9.8.7/stream1?token=veiled"
SEGMENT = StreamSegment(number=3, started_at=datetime(2030, 1, 1, tzinfo=UTC), seconds=2, bytes=3, frames=20)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allow_streams": True, "stream_hosts": "10.9.8.0/24"})


@pytest.fixture
def streams(services: Services) -> StreamQueue:
    return services.streams


Start = Callable[..., str]


@pytest.fixture
def start(client: FlaskClient) -> Start:
    def submit(**fields: Any) -> str:
        answer = client.post("/streams", data={"url": CAMERA, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.get_json()["id"])

    return submit


class PlayedStreamer:
    """What a streamer does, without a stream."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _job(self, stream_id: str) -> Job:
        return Job.fetch(stream_id, connection=self._services.streams.redis, serializer=JSONSerializer)

    def begin(self, stream_id: str, holder: str = "h") -> None:
        queue = self._services.streams
        queue.redis.lrem(queue.lanes.lane.key, 1, stream_id)
        with queue.redis.pipeline() as pipe:
            self._job(stream_id).prepare_for_execution("s", pipe)
            pipe.execute()
        queue.hold(stream_id, holder)
        self.tell(stream_id, holder)
        state = StreamState(started_at=datetime.now(UTC), segments=[SEGMENT], totals=StreamCounts(counts={"dog": 2}))
        self._services.storage.put(result_key(stream_id, "state.json"), state.model_dump_json().encode())
        self._services.storage.put(segment_key(stream_id, 3), b"mp4")
        self.frame(stream_id, 1)

    def tell(self, stream_id: str, holder: str = "h") -> Any:
        totals = StreamCounts(counts={"dog": 2})
        progress = StreamProgress(phase="running", limit=60, frames=20, now={"dog": 1}, totals=totals)
        return self._services.streams.report(stream_id, holder, progress)

    def frame(self, stream_id: str, number: int) -> None:
        self._services.storage.put(result_key(stream_id, LATEST_FRAME), b"frame-%d" % number)
        self._services.streams.tell_frame(stream_id, number)

    def finish(self, stream_id: str) -> None:
        now = datetime.now(UTC)
        result = StreamResult(
            id=stream_id,
            url="rtsp://10.9.8.7/stream1",
            created_at=now,
            started_at=now,
            finished_at=now,
            reason="stopped",
            options={},
            stream_options=StreamOptions(),
            seconds=2,
            frames=20,
            connections=1,
            text="2 dogs were seen.",
            totals=StreamCounts(counts={"dog": 2}),
            events=[],
            segments=[SEGMENT],
        )
        self._services.storage.put(result_key(stream_id, "result.json"), result.to_json())
        job = self._job(stream_id)
        job.ended_at = now
        job.set_status(JobStatus.FINISHED)
        job.save()
        self._services.streams.events.publish(stream_id, last=True)


@pytest.fixture
def streamer(services: Services) -> PlayedStreamer:
    return PlayedStreamer(services)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["code"]


def test_a_stream_that_waits_says_for_what(client: FlaskClient, services: Services, start: Start) -> None:
    start()
    stream_id = start()

    def page() -> str:
        return client.get(f"/streams/{stream_id}", headers={"Accept": "text/html"}).get_data(as_text=True)

    assert "Number 2 in the queue. No streamer is alive" in page()
    assert re.search(r'<img id="picture"[^>]*src', page()) is None, "nothing to be seen yet"
    info = WorkerInfo(name="s", host="h", pid=1, state="busy", installed=[], ready=True, engine="", started_at=0)
    services.streamers.announce(info, ttl=60)
    assert "Number 2 in the queue. The only streamer is busy" in page()
    services.streamers.announce(info.model_copy(update={"name": "t"}), ttl=60)
    assert "A streamer is about to take it" in page()
    PlayedStreamer(services).begin(start())
    assert "All 2 streamers are busy" in page()
    PlayedStreamer(services).begin(stream_id)
    assert re.search(r'<img id="picture"[^>]*src="[^"]*/live.mjpg"', page()) is not None


def test_off_as_it_comes(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"allow_streams": False}))
    client = app.test_client()
    for path in ("/streams", f"/streams/{'0' * 32}", f"/streams/{'0' * 32}/live.mjpg"):
        assert code(client.get(path)) == (403, "forbidden")
    assert code(client.post("/streams", data={"url": "http://93.184.216.34/"})) == (403, "forbidden")
    assert b"/streams" not in client.get("/", headers={"Accept": "text/html"}).data
    app.extensions[EXTENSION].close()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"url": "http://127.0.0.1/live.ts"}, (422, "url_refused")),
        ({"url": "rtsp://169.254.169.254/latest"}, (422, "url_refused")),
        ({"url": "http://[::ffff:10.0.0.1]/"}, (422, "url_refused")),
        ({"url": "file:///etc/passwd"}, (422, "url_refused")),
        ({"url": "rtsp://10.9.8.7:22/"}, (422, "url_refused")),
        ({"url": ""}, (422, "invalid_option")),
        ({"model": "nothing"}, (422, "unknown_model")),
        ({"model": "large,small"}, (422, "invalid_option")),
        ({"line": "0.5,0,0.5"}, (422, "invalid_option")),
        ({"line": "0.5,0,0.5,0"}, (422, "invalid_option")),
        ({"zone": "0,0 1,1"}, (422, "invalid_option")),
        ({"zone": "0,0 1,1 2,2"}, (422, "invalid_option")),
        ({"fps": "0"}, (422, "invalid_option")),
        ({"surprise": "1"}, (422, "invalid_option")),
    ],
)
def test_what_is_refused(client: FlaskClient, fields: dict[str, str], expected: tuple[int, str]) -> None:
    assert code(client.post("/streams", data={"url": CAMERA, **fields})) == expected
    assert client.get("/streams").get_json()["streams"] == []


def test_secrets_of_the_url_are_seen_nowhere(
    client: FlaskClient, start: Start, streams: StreamQueue, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    stream_id = start(line="0.5, 0, 0.5, 1", zone="0,0 1,0 1,1", seconds="60")
    seen = [
        client.get(path, headers={"Accept": kind}).text
        for path in ("/streams", f"/streams/{stream_id}")
        for kind in ("text/html", "*/*")
    ]
    job = services.queue.redis.hgetall(f"rq:job:{stream_id}")
    for text in (*seen, caplog.text, str(job)):
        assert "secret" not in text
        assert "veiled" not in text
    assert "No streamer is alive" in seen[0]
    assert "rtsp://10.9.8.7/stream1" in seen[-1]
    assert streams.url(stream_id) == CAMERA
    view = client.get(f"/streams/{stream_id}").get_json()
    assert view["stream"]["line"] == [0.5, 0, 0.5, 1]
    assert view["stream"]["zone"] == [[0, 0], [1, 0], [1, 1]]
    assert (view["state"], view["position"]) == ("queued", 1)


def test_from_the_beginning_to_the_end(
    client: FlaskClient, start: Start, streamer: PlayedStreamer, streams: StreamQueue, services: Services
) -> None:
    stream_id = start()
    announce(services, "small")
    streamer.begin(stream_id)
    view = client.get(f"/streams/{stream_id}").get_json()
    assert (view["state"], view["progress"]["phase"], view["progress"]["now"]) == ("running", "running", {"dog": 1})
    assert view["segments"][0]["number"] == 3
    assert set(view["colours"]) == {"dog"}
    assert client.get(f"/streams/{stream_id}/latest.jpg").data == b"frame-1"
    assert client.get(f"/streams/{stream_id}/segments/3.mp4").data == b"mp4"
    assert client.get(f"/streams/{stream_id}/segments/4.mp4").status_code == 404
    assert streamer.tell(stream_id) == (True, False, True)  # somebody looks
    assert client.post(f"/streams/{stream_id}/stop").get_json()["stopping"] is True
    assert streamer.tell(stream_id) == (True, True, True)
    streamer.finish(stream_id)
    view = client.get(f"/streams/{stream_id}").get_json()
    assert (view["state"], view["result"]["text"]) == ("finished", "2 dogs were seen.")
    assert code(client.post(f"/streams/{stream_id}/stop")) == (409, "conflict")
    assert b"2 dogs were seen." in client.get(f"/streams/{stream_id}", headers={"Accept": "text/html"}).data
    streams.redis.flushall()  # Redis has forgotten it, storage has not
    assert client.get(f"/streams/{stream_id}").get_json()["result"]["frames"] == 20
    assert client.delete(f"/streams/{stream_id}").status_code == 204
    assert client.get(f"/streams/{stream_id}").status_code == 404
    assert list(services.storage.list(f"results/{stream_id}/")) == []


def test_an_attempt_that_lost_the_stream_hears_it(start: Start, streamer: PlayedStreamer) -> None:
    stream_id = start()
    streamer.begin(stream_id, "first")
    streamer.begin(stream_id, "second")
    assert streamer.tell(stream_id, "first").is_ours is False
    assert streamer.tell(stream_id, "second").is_ours is True


def test_frames_as_they_come(client: FlaskClient, start: Start, streamer: PlayedStreamer) -> None:
    stream_id = start()
    streamer.begin(stream_id)
    answer = client.get(f"/streams/{stream_id}/live.mjpg")
    assert answer.mimetype == "multipart/x-mixed-replace"
    parts: Iterator[bytes] = iter(answer.iter_encoded())
    assert next(parts) == b"--frame\r\n"
    assert b"Content-Length: 7\r\n\r\nframe-1\r\n--frame\r\n" in next(parts)
    threading.Timer(0.2, streamer.frame, (stream_id, 2)).start()
    assert b"frame-2" in next(parts)
    streamer.finish(stream_id)
    assert list(parts) == []
    assert client.get(f"/streams/{'0' * 32}/live.mjpg").status_code == 404


def test_news(client: FlaskClient, start: Start, streamer: PlayedStreamer) -> None:
    stream_id = start()
    streamer.begin(stream_id)
    threading.Timer(0.3, streamer.finish, (stream_id,)).start()
    text = client.get(f"/streams/{stream_id}/events").text
    assert '"phase":"running"' in text
    assert '"text":"2 dogs were seen."' in text
    assert text.endswith("event: end\ndata: {}\n\n")


def test_a_stream_is_its_owners(settings: Settings) -> None:
    keys = {name: new_key() for name in ("anna", "bert", "admin")}
    entries = ",".join(f"{name}:{hash_of(key)}" for name, key in keys.items())
    app: APIFlask = create_app(settings.model_copy(update={"api_keys": entries}))
    app.extensions[EXTENSION].storage.prepare()
    client = app.test_client()

    def ask(name: str, method: str, path: str, **more: Any) -> TestResponse:
        return client.open(path, method=method, headers={"X-Api-Key": keys[name]}, **more)

    stream_id = ask("anna", "POST", "/streams", data={"url": CAMERA}).get_json()["id"]
    assert client.get(f"/streams/{stream_id}").status_code == 401  # not by its link alone
    assert client.get("/streams", headers={"Accept": "text/html"}).headers["Location"] == "/sign-in"
    for method, end in (("GET", ""), ("GET", "/latest.jpg"), ("GET", "/live.mjpg"), ("POST", "/stop"), ("DELETE", "")):
        assert code(ask("bert", method, f"/streams/{stream_id}{end}")) == (403, "forbidden"), end
    assert ask("bert", "GET", "/streams").get_json()["streams"] == []
    assert len(ask("anna", "GET", "/streams").get_json()["streams"]) == 1
    assert ask("admin", "POST", f"/streams/{stream_id}/stop").get_json()["state"] == "canceled"
    app.extensions[EXTENSION].close()


def test_the_form_has_all_options() -> None:
    assert set(StreamOptions.model_fields) <= set(StreamForm.model_fields)
