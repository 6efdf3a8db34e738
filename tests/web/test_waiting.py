"""`POST /upload?wait=N`: what it costs Redis, and that no end is missed."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis.connection import AbstractConnection
from rq.job import Job

from shared.queue import keys
from shared.queue.connection import text
from tests.web.conftest import PlayedWorker, announce, picture, post_files
from web.services import Services

QUEUE = f"rq:queue:{keys.QUEUE}"
#: said on a new connection, and now and then on an old one
CONNECTING = (b"HELLO", b"PING", b"SETINFO")


@contextmanager
def counted_round_trips(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """What this thread sends to Redis meanwhile; a command or a pipeline is one entry."""
    sent: list[bytes] = []
    send, me = AbstractConnection.send_packed_command, threading.get_ident()

    def counting(self: AbstractConnection, command: Any, **more: Any) -> None:
        said = b"".join(command)
        if threading.get_ident() == me and not any(word in said for word in CONNECTING):
            sent.append(said)
        send(self, command, **more)  # type: ignore[no-untyped-call]

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "send_packed_command", counting)
        yield sent


def in_background(services: Services, act: Callable[[PlayedWorker, str], object], jobs: int = 1) -> threading.Thread:
    """A worker that does that with each of the jobs that come."""

    def run() -> None:
        played = PlayedWorker(services)
        end = time.monotonic() + 10
        done = 0
        while done < jobs and time.monotonic() < end:
            for job_id in map(text, services.queue.redis.lrange(QUEUE, 0, -1)):
                act(played, job_id)
                services.queue.redis.lrem(QUEUE, 1, job_id)
                done += 1
            time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def slowly(played: PlayedWorker, job_id: str) -> None:
    """Begin and end a job such that who waits hears of both."""
    time.sleep(0.1)
    played.start(job_id)
    time.sleep(0.1)
    played.finish(job_id)


def vanish(services: Services, job_id: str) -> None:
    """Have a job gone at once: to delete one takes several steps, in which it is canceled first."""
    services.queue.redis.delete(Job.key_for(job_id))
    services.queue.events.publish(job_id)


def test_a_photo_costs_few_round_trips(
    client: FlaskClient, services: Services, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(services, "small", arithmetic={"small": "test/f32"})
    assert post_files(client, (picture(8, 8), "first.jpg")).status_code == 202  # connects, and asks for the version
    services.queue.redis.delete(QUEUE)
    worker = in_background(services, slowly)
    with counted_round_trips(monkeypatch) as sent:
        answer = post_files(client, (photo, "x.jpg"), path="/upload?wait=10")
    worker.join()
    assert (answer.status_code, answer.get_json()["state"]) == (200, "finished")
    assert len(sent) <= 6, "its rate; is there room; submit; its start; its end; what is left of its rate"
    with counted_round_trips(monkeypatch) as sent:
        assert post_files(client, (photo, "x.jpg")).get_json()["cached"] is True
    assert len(sent) <= 7


def test_a_job_that_ends_before_it_is_waited_for(
    client: FlaskClient, services: Services, played: PlayedWorker, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = services.queue.submit

    def submit_and_finish(requests: Any, *args: Any, **options: Any) -> Any:
        submitted = submit(requests, *args, **options)
        for request in requests:
            played.start(request.id)
            played.finish(request.id)
        return submitted

    monkeypatch.setattr(services.queue, "submit", submit_and_finish)
    with counted_round_trips(monkeypatch) as sent:
        answer = post_files(client, (photo, "x.jpg"), path="/upload?wait=60")
    assert answer.get_json()["state"] == "finished"
    assert sum(b"XREAD" in command for command in sent) == 1, "its end is heard of at once"


def test_a_job_that_is_deleted_while_it_is_waited_for(client: FlaskClient, services: Services, photo: bytes) -> None:
    worker = in_background(services, lambda _, job_id: vanish(services, job_id))
    answer = post_files(client, (photo, "x.jpg"), path="/upload?wait=10")
    worker.join()
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (404, "not_found")


def test_several_files_are_waited_for_whichever_ends_first(client: FlaskClient, services: Services) -> None:
    files = [(picture(8, 8 + number), f"{number}.jpg") for number in range(3)]
    ends = iter(["fail", "finish", "vanish"])

    def act(played: PlayedWorker, job_id: str) -> None:
        end = next(ends)
        if end == "fail":
            time.sleep(0.1)
            played.start(job_id)
            played.fail(job_id, '{"code": "bad_image", "message": "It is cut short."}')
        elif end == "finish":
            played.start(job_id)
            played.finish(job_id)
        else:
            vanish(services, job_id)

    worker = in_background(services, act, jobs=3)
    answer = post_files(client, *files, path="/upload?wait=10")
    worker.join()
    assert answer.status_code == 200
    assert [job["state"] for job in answer.get_json()["jobs"]] == ["failed", "finished", "gone"]
    assert "position" not in answer.get_json()["jobs"][2]


def test_who_waits_too_short_learns_the_position(client: FlaskClient) -> None:
    files = [(picture(8, 8 + number), f"{number}.jpg") for number in range(2)]
    answer = post_files(client, *files, path="/upload?wait=1")
    assert answer.status_code == 202
    assert [(job["state"], job["position"]) for job in answer.get_json()["jobs"]] == [("queued", 1), ("queued", 2)]
