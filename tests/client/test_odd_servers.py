"""The client against servers that misbehave."""

import threading
import time
from pathlib import Path

import pytest

from client import (
    Client,
    ConnectionFailedError,
    JobFailedError,
    JobState,
    ProtocolError,
    RefusedError,
    StoppedError,
    UnreadableFileError,
    WaitTimeoutError,
)
from tests.client.odd_server import (
    JOB_ID,
    accept,
    answer,
    cut_short,
    job,
    odd_server,
    refuse,
    refuse_unread,
    reset,
    swallow,
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / 'a "dog"\n.jpg'
    path.write_bytes(b"\xff\xd8" + b"x" * 300_000)
    return path


def test_the_form_is_streamed_with_its_length(photo: Path) -> None:
    sent: list[int] = []
    with odd_server(accept()) as server, Client(server.url, "key-1") as client:
        made = client.submit(photo, model="small", score=0.5, explain=True, on_sent=sent.append)
    request = server.seen[0]
    assert (made.id, made.state, made.url) == (JOB_ID, JobState.QUEUED, f"{server.url}/view/{JOB_ID}")
    assert request.headers["Authorization"] == "Bearer key-1"
    assert "Transfer-Encoding" not in request.headers
    assert int(request.headers["Content-Length"]) == len(request.body)
    assert b'filename="a %22dog%22%0A.jpg"' in request.body
    assert b'name="score"\r\n\r\n0.5\r\n' in request.body
    assert b'name="explain"\r\n\r\ntrue\r\n' in request.body
    assert b'name="model"\r\n\r\nsmall\r\n' in request.body
    assert photo.read_bytes() in request.body
    assert sent == sorted(sent)
    assert sent[-1] == photo.stat().st_size


def test_a_busy_server_is_asked_again_when_it_says(photo: Path) -> None:
    acts = refuse(503, "queue_down", Retry_After="1"), refuse(429, "queue_full", Retry_After="1"), accept()
    with odd_server(*acts) as server, Client(server.url) as client:
        begin = time.monotonic()
        client.submit(photo)
        assert 2 <= time.monotonic() - begin < 10
    assert len({request.body.split(b"\r\n")[-2] for request in server.seen}) == 3, "each attempt is a body of its own"


def test_who_says_to_come_back_after_too_long_is_believed(photo: Path) -> None:
    acts = (refuse(429, "rate_limited", Retry_After="3600"),)
    with odd_server(*acts) as server, Client(server.url, patience=5) as client:
        begin = time.monotonic()
        with pytest.raises(RefusedError) as caught:
            client.submit(photo)
        assert time.monotonic() - begin < 5
    assert (caught.value.code, caught.value.status, caught.value.retry_after) == ("rate_limited", 429, 3600)


@pytest.mark.parametrize("header", ["\xb2", "soon", "-1", ""])
def test_a_time_to_come_back_that_is_none(photo: Path, header: str) -> None:
    acts = refuse(503, "queue_down", Retry_After=header), accept()
    with odd_server(*acts) as server, Client(server.url, patience=5) as client:
        assert client.submit(photo).id == JOB_ID


def test_several_models_are_not_sent(photo: Path) -> None:
    """Each would make a job, of which this client would know none."""
    with odd_server() as server, Client(server.url) as client, pytest.raises(ValueError, match="several models"):
        client.submit(photo, model="small,large")
    assert server.seen == []


def test_without_time_to_wait_the_server_is_asked_once(photo: Path) -> None:
    acts = accept(), answer(200, job("queued")), answer(200, job("canceled"))
    with odd_server(*acts) as server, Client(server.url) as client:
        made = client.submit(photo)
        with pytest.raises(WaitTimeoutError, match="queued"):
            made.wait(0)
        assert made.wait(0) is JobState.CANCELED


def test_broken_connections_are_made_anew(photo: Path) -> None:
    with odd_server(reset, cut_short, reset, accept()) as server, Client(server.url) as client:
        assert client.submit(photo).id == JOB_ID
    assert len(server.seen) == 4


def test_a_server_that_restarts_is_found_again(photo: Path) -> None:
    with odd_server() as gone:
        port = int(gone.url.rsplit(":", 1)[1])
    with Client(gone.url, patience=0) as client, pytest.raises(ConnectionFailedError, match="refused"):
        client.submit(photo)
    with Client(f"127.0.0.1:{port}", patience=1) as client:
        begin = time.monotonic()
        with pytest.raises(ConnectionFailedError):
            client.models()
        assert time.monotonic() - begin < 10


@pytest.mark.parametrize(("status", "code"), [(413, "too_large"), (415, "unsupported_type"), (401, "unauthorized")])
def test_a_refusal_is_told_as_it_is_and_once(photo: Path, status: int, code: str) -> None:
    with odd_server(refuse(status, code)) as server:
        client = Client(server.url)
        with client, pytest.raises(RefusedError, match=f"It is {code}") as caught:
            client.submit(photo)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert len(server.seen) == 1


def test_a_refusal_in_the_middle_of_a_large_upload_is_seen(tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    with odd_server(refuse_unread(413, "too_large")) as server:
        client = Client(server.url)
        with client, pytest.raises(RefusedError) as caught:
            client.submit(large)
    assert caught.value.code == "too_large"


def test_errors_that_are_not_ours() -> None:
    page = (
        answer(404, b"<h1>nginx</h1>"),
        answer(200, b"<h1>hello</h1>"),
        answer(301, b"", Location="https://x.example/"),
    )
    with odd_server(*page) as server, Client(server.url) as client:
        with pytest.raises(RefusedError) as caught:
            client.models()
        assert caught.value.code == "http_404"
        with pytest.raises(ProtocolError, match="does not seem to be Dropsight"):
            client.models()
        with pytest.raises(ProtocolError, match=r"x\.example"):
            client.models()


def test_waiting_goes_on_over_trouble_and_does_not_run_hot() -> None:
    """This server never waits, as if something took `wait=` off; it breaks in between."""
    quick = [answer(200, job("running", progress={"phase": "inference", "percent": 40}))] * 3
    failed = answer(200, job("failed", error={"code": "bad_image", "message": "Broken."}))
    acts = [answer(200, job("queued")), *quick, reset, refuse(503, "queue_down", Retry_After="0"), failed]
    seen: list[str] = []
    with odd_server(*acts) as server, Client(server.url) as client:
        made = client.job(JOB_ID)
        begin = time.monotonic()
        assert made.wait(on_change=lambda view: seen.append(view.state)) is JobState.FAILED
        assert time.monotonic() - begin > 1.2, "0.2 s, 0.4 s, 0.8 s"
        with pytest.raises(JobFailedError, match="Broken") as caught:
            made.result()
    assert (caught.value.code, caught.value.status) == ("bad_image", 422)
    assert seen == ["running"] * 3 + ["failed"]


def test_waiting_ends_in_time_and_may_begin_again() -> None:
    acts = [answer(200, job("queued"))] * 20
    with odd_server(*acts) as server, Client(server.url) as client:
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            client.job(JOB_ID).wait(0.7)
        assert 0.6 < time.monotonic() - begin < 10
        with pytest.raises(WaitTimeoutError):
            client.job(JOB_ID).result(0.1)


def test_what_a_newer_server_adds_does_no_harm_and_what_it_changes_is_said() -> None:
    acts = answer(200, job("queued", mood="good")), answer(200, job("dreaming"))
    with odd_server(*acts) as server, Client(server.url) as client:
        assert client.job(JOB_ID).state is JobState.QUEUED
        with pytest.raises(ProtocolError, match=r"state.*newer"):
            client.job(JOB_ID)


def test_stop_ends_what_other_threads_wait_for(photo: Path) -> None:
    caught: list[BaseException] = []
    with odd_server(refuse(503, "queue_down", Retry_After="30")) as server, Client(server.url) as client:

        def send() -> None:
            try:
                client.submit(photo)
            except StoppedError as error:
                caught.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        while not server.seen:
            time.sleep(0.01)
        time.sleep(0.2)
        client.stop()
        thread.join(5)
        assert not thread.is_alive()
    assert len(caught) == 1


def test_files_that_cannot_be_sent(tmp_path: Path) -> None:
    path = tmp_path / "shrinks.jpg"
    path.write_bytes(b"x" * 200_000)

    def shrink(_sent: int) -> None:
        path.write_bytes(b"")

    with odd_server(swallow) as server, Client(server.url, patience=0) as client:
        with pytest.raises(UnreadableFileError, match="shorter"):
            client.submit(path, on_sent=shrink)
        with pytest.raises(UnreadableFileError, match="not a file"):
            client.submit(tmp_path)
        with pytest.raises(UnreadableFileError, match="No such file"):
            client.submit(tmp_path / "none.jpg")


def test_submit_many_tells_of_each(photo: Path, tmp_path: Path) -> None:
    with odd_server(refuse(415, "unsupported_type"), accept(), accept()) as server, Client(server.url) as client:
        paths = [photo, photo, photo, tmp_path / "none.jpg"]
        found = list(client.submit_many(paths, parallel=1, score=0.5))
    assert [path for path, _ in found] == paths
    errors = [getattr(made, "code", None) for _, made in found]
    assert errors == ["unsupported_type", None, None, "unreadable_file"]


@pytest.mark.parametrize("server", ["", "ftp://x", "http://", "http://x:port", "http://x/?a=b"])
def test_what_is_no_server(server: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        Client(server)
