import io
from typing import TYPE_CHECKING, Any, cast

import pytest
from flask.testing import FlaskClient
from werkzeug.wsgi import LimitedStream

from shared.errors import PublicError
from shared.settings import Settings
from web.services import Services
from web.slow import SlowBodies, TimedBody

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class Line:
    """A line that gives so many bytes a second."""

    def __init__(self, content: bytes, rate: float) -> None:
        self.now = 0.0
        self.asked: list[int] = []
        self._content = io.BytesIO(content)
        self._rate = rate

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        data = self._content.read(size)
        self.now += len(data) / self._rate
        return data


@pytest.mark.parametrize(("rate", "arrives"), [(1e9, True), (5000, True), (4096, True), (3500, False), (2000, False)])
def test_a_body_needs_a_least_rate(rate: float, arrives: bool) -> None:
    content = bytes(range(256)) * 4096
    line = Line(content, rate)
    body = TimedBody(line, seconds=10, rate=4096, clock=lambda: line.now)
    if arrives:
        assert body.read() == content
        assert max(line.asked) <= 32 * 1024
    else:
        with pytest.raises(PublicError, match="too_slow"):
            body.read()
        assert line.now < 120


def test_what_came_within_the_time_is_taken_whatever_the_rate() -> None:
    line = Line(b"x" * 100, 10.5)
    assert TimedBody(line, seconds=10, rate=4096, clock=lambda: line.now).read() == b"x" * 100


def test_no_body_takes_longer_than_the_janitor_waits() -> None:
    line = Line(b"x" * 1_000_000, 5000)
    body = TimedBody(line, seconds=10, rate=4096, most=100, clock=lambda: line.now)
    with pytest.raises(PublicError, match="too_slow"):
        body.read()
    assert 100 <= line.now < 110


def test_lines_and_pieces() -> None:
    body = TimedBody(io.BytesIO(b"one\ntwo\n" + b"3" * 100_000), 10, 4096)
    assert body.readline() == b"one\n"
    assert body.read(4) == b"two\n"
    assert len(body.read(100_000)) <= 32 * 1024
    assert set(body.readall()) == {ord("3")}
    assert body.read(5) == b""


@pytest.mark.parametrize("size", [1, 1023, 32 * 1024, 32 * 1024 + 100, 65_000, 70_000])
def test_reads_are_never_short(size: int) -> None:
    """Werkzeug's LimitedStream cannot take that, and the form comes out empty."""
    content = bytes(range(256)) * 300
    seen = []

    def app(environ: "WSGIEnvironment", _start_response: object) -> list[bytes]:
        stream = LimitedStream(environ["wsgi.input"], size)
        buffer = bytearray(64 * 1024)
        while count := stream.readinto(buffer):
            seen.append(bytes(buffer[:count]))
        return []

    SlowBodies(app, Settings())({"wsgi.input": io.BytesIO(content)}, cast(Any, None))
    assert b"".join(seen) == content[:size]
    assert len(seen) == (1 if size <= 64 * 1024 else 2)


class Drip(io.BytesIO):
    """A body whose last piece never comes in time."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            raise PublicError("too_slow", "The body came too slowly.")
        return data


def test_a_slow_upload_is_ended_and_leaves_nothing(client: FlaskClient, services: Services, photo: bytes) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
    answer = client.post(
        "/upload",
        input_stream=Drip(head + photo + b"\0" * 100_000),
        content_type="multipart/form-data; boundary=b",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (408, "too_slow")
    assert list(services.storage.list("inputs/")) == []
    assert services.queue.waiting() == 0
