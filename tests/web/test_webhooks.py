"""Webhooks, with real receivers on this machine and a real Redis."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from pydantic import SecretStr, ValidationError

from shared.jobs import ErrorInfo
from shared.queue import Hooks, connect, keys
from shared.queue import hooks as hooks_module
from shared.safe_http import SafeClient
from shared.settings import ROOT, Settings
from tests.web.conftest import PlayedWorker, Upload, picture
from tests.web.test_status import failed
from web.services import Services
from web.webhooks import MOST_ATTEMPTS, Deliverer, Pace, host_of, main, pause_after, signature

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
QUICK = Pace(threads=8, again=4, per_host=2, timeout=2, lease=5, poll=0.02, first_pause=0.05)


class Receiver(http.server.ThreadingHTTPServer):
    """Answers with the statuses it is told, then with 204; `hold` keeps it from answering."""

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.held: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?token=hidden-token"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
        if self.server.held is not None:
            self.server.held.wait(30)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


Receive = Callable[..., Receiver]


@pytest.fixture
def receive() -> Iterator[Receive]:
    receivers: list[Receiver] = []

    def start(*statuses: int, held: bool = False) -> Receiver:
        receiver = Receiver(*statuses)
        receiver.held = threading.Event() if held else None
        threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True).start()
        receivers.append(receiver)
        return receiver

    yield start
    for receiver in receivers:
        if receiver.held is not None:
            receiver.held.set()
        receiver.shutdown()
        receiver.server_close()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"allow_webhooks": True, "webhook_secret": SecretStr(f"{SECRET},{OLD}"), "max_queue": 500}
    )


def deliverer(app: APIFlask, settings: Settings) -> Deliverer:
    return Deliverer(app, settings, SafeClient(lambda address: address.is_loopback), QUICK)


@contextmanager
def delivering(found: Deliverer) -> Iterator[None]:
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        yield
    finally:
        found.stop()
        thread.join(20)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def sent(upload: Upload, number: int = 0, **fields: Any) -> str:
    answer = upload((picture(8, 8 + number), "a.jpg"), **fields)
    assert answer.status_code == 202, answer.get_data(as_text=True)
    return str(answer.get_json()["id"])


def check(headers: dict[str, str], body: bytes, secret: str) -> None:
    """As docs/webhooks.md tells receivers to."""
    source = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL)
    assert source
    scope: dict[str, Any] = {}
    exec(source[1], scope)
    scope["check"](secret, headers, body)


def test_the_end_is_told_and_signed(
    app: APIFlask, settings: Settings, client: FlaskClient, upload: Upload, played: PlayedWorker, receive: Receive,
    services: Services, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    receiver = receive()
    job_id = sent(upload, webhook=receiver.url)
    with caplog.at_level("DEBUG"), delivering(deliverer(app, settings)):
        time.sleep(0.2)
        assert receiver.seen == [], "not before the end"
        played.finish(job_id)
        wait_for(lambda: services.queue.hooks.counts() == (0, 0))
    (headers, body), = receiver.seen  # fmt: skip
    shown = client.get(f"/jobs/{job_id}").get_json()
    told = json.loads(body)
    assert told.pop("expires_at")[:15] == shown.pop("expires_at")[:15]
    assert told == shown
    assert told["state"] == "finished"
    for secret in (SECRET, OLD):
        check(headers, body, secret)
    with pytest.raises(ValueError, match="not from"):
        check(headers, body + b" ", SECRET)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"].split()[0] == f"v1,{mac}"
    assert not list(services.queue.redis.scan_iter(keys.hook("*"))), "nothing stays in Redis"
    assert "127.0.0.1" in caplog.text
    assert "hidden-token" not in caplog.text
    assert SECRET[6:] not in caplog.text


def test_a_known_vector() -> None:
    """Of the specification's own libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_end_is_told(
    app: APIFlask, settings: Settings, client: FlaskClient, upload: Upload, played: PlayedWorker, receive: Receive,
    services: Services,
) -> None:  # fmt: skip
    receiver, everything = receive(), receive()
    settings = settings.model_copy(update={"webhook_url": everything.url})
    services.queue._settings = settings
    failed, canceled, late, deleted = (sent(upload, number, webhook=receiver.url) for number in range(4))
    unasked = sent(upload, 5)
    played.fail(failed, ErrorInfo(code="bad_image", message="no").model_dump_json())
    client.post(f"/jobs/{canceled}/cancel")
    services.queue.redis.zadd(keys.DEADLINES, {late: 1})
    services.queue.expire_due()
    client.delete(f"/jobs/{deleted}")
    played.finish(unasked)
    with delivering(deliverer(app, settings)):
        wait_for(lambda: services.queue.hooks.counts() == (0, 0))
    told = {job["id"]: (job["state"], (job["error"] or {}).get("code")) for job in bodies(receiver)}
    assert told == {failed: ("failed", "bad_image"), canceled: ("canceled", None), late: ("failed", "expired")}
    assert sorted(job["id"] for job in bodies(everything)) == sorted([failed, canceled, late, unasked])


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, body in receiver.seen]


def test_a_photo_known_from_before_is_told_at_once(
    app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive
) -> None:
    receiver = receive()
    job_id = sent(upload)
    played.finish(job_id)
    assert upload((picture(8, 8), "a.jpg"), webhook=receiver.url).get_json()["id"] == job_id
    with delivering(deliverer(app, settings)):
        wait_for(lambda: len(receiver.seen) == 1)


def test_it_is_tried_again(
    app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive, services: Services
) -> None:
    receiver, gone = receive(500, 302, 404), receive(410)
    played.finish(sent(upload, webhook=receiver.url))
    played.finish(sent(upload, 1, webhook=gone.url))
    with delivering(deliverer(app, settings)):
        wait_for(lambda: services.queue.hooks.counts() == (0, 0))
    assert len(receiver.seen) == 4, "and the redirect is not followed"
    assert len({headers["webhook-id"] for headers, _ in receiver.seen}) == 1
    assert len(gone.seen) == 1


def test_a_job_that_is_tried_again_has_another_end(
    app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive, services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("web.webhooks.SHORT_PAUSE", 0.05)
    receiver, hooks = receive(), services.queue.hooks
    told, late, soon = (failed(services, upload, played, "internal", webhook=receiver.url) for _ in range(3))
    services.overview.retry(soon)
    assert hooks.counts() == (3, 0), "nobody was told"
    played.finish(soon)
    with delivering(deliverer(app, settings)):
        wait_for(lambda: len(receiver.seen) == 3 and hooks.counts() == (0, 0))
        services.overview.retry(told)
        played.finish(told)
        wait_for(lambda: len(receiver.seen) == 4 and hooks.counts() == (0, 0))
        services.overview.retry(late)
        # as if the first end had been about to be told
        (member, _), = services.queue.redis.zscan_iter(keys.HOOKS_WAITING)  # fmt: skip
        services.queue.redis.zrem(keys.HOOKS_WAITING, member)
        services.queue.redis.zadd(keys.HOOKS_DUE, {member.partition(b":")[0]: 0})
        time.sleep(0.3)
        assert len(receiver.seen) == 4, "it has not ended"
        played.finish(late)
        wait_for(lambda: len(receiver.seen) == 5 and hooks.counts() == (0, 0))
    ends = sorted((body["id"], body["state"]) for body in bodies(receiver))
    expected = [(told, "failed"), (told, "finished"), (late, "failed"), (late, "finished"), (soon, "finished")]
    assert ends == sorted(expected)


def test_pauses_grow_and_end_after_about_a_day() -> None:
    pauses = [pause_after(attempts) for attempts in range(1, MOST_ATTEMPTS)]
    found = [pause for pause in pauses if pause is not None]
    assert len(found) == MOST_ATTEMPTS - 1
    assert 3 < found[0] < 7
    assert 18 * 3600 < sum(found) < 36 * 3600
    assert pause_after(MOST_ATTEMPTS) is None


def test_a_dead_receiver_holds_nobody_else(
    app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive, services: Services
) -> None:
    dead, alive = receive(held=True), receive()
    first = sent(upload)
    played.finish(first)
    for _ in range(100):
        services.queue.hooks.add(first, dead.url)
    with delivering(deliverer(app, settings)):
        wait_for(lambda: len(dead.seen) == QUICK.per_host)
        begin = time.monotonic()
        services.queue.hooks.add(first, alive.url)
        wait_for(lambda: len(alive.seen) == 1)
        assert time.monotonic() - begin < 0.9 * QUICK.timeout
        assert len(dead.seen) <= 2 * QUICK.per_host
        assert dead.held is not None
        dead.held.set()
        wait_for(lambda: services.queue.hooks.counts() == (0, 0), 30)
    assert len({headers["webhook-id"] for headers, _ in dead.seen}) == 100


def test_two_loops_do_not_deliver_the_same_twice(
    app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive, services: Services
) -> None:
    receiver = receive()
    job_id = sent(upload)
    played.finish(job_id)
    for _ in range(150):
        services.queue.hooks.add(job_id, receiver.url)
    with delivering(deliverer(app, settings)), delivering(deliverer(app, settings)):
        wait_for(lambda: services.queue.hooks.counts() == (0, 0), 30)
    assert len(receiver.seen) == len({headers["webhook-id"] for headers, _ in receiver.seen}) == 150


def test_private_addresses_are_refused(
    app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive, services: Services
) -> None:
    receiver = receive()
    played.finish(sent(upload, webhook=receiver.url))
    with delivering(Deliverer(app, settings, pace=QUICK)):
        wait_for(lambda: services.queue.hooks.counts() == (0, 0))
    assert receiver.seen == []


@pytest.mark.parametrize("url", ["ftp://x.example/", "http://u:p@x.example/", "x", "http://x.example:22/", "http://"])
def test_what_is_no_receiver(upload: Upload, services: Services, url: str) -> None:
    answer = upload((picture(8, 8), "a.jpg"), webhook=url)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "url_refused")
    assert services.queue.waiting() == 0


class TestOff:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"allow_webhooks": False})

    def test_off(self, upload: Upload) -> None:
        answer = upload((picture(8, 8), "a.jpg"), webhook="https://x.example/")
        assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "url_refused")

    def test_switched_off_meanwhile(
        self, app: APIFlask, settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive,
        services: Services,
    ) -> None:  # fmt: skip
        receiver = receive()
        job_id = sent(upload)
        services.queue.hooks.add(job_id, receiver.url)
        played.finish(job_id)
        with delivering(deliverer(app, settings)):
            wait_for(lambda: services.queue.hooks.counts() == (0, 0))
        assert receiver.seen == []


@pytest.mark.parametrize(
    "given",
    [
        {"allow_webhooks": True},
        {"webhook_url": "https://x.example/"},
        {"webhook_secret": SecretStr("hidden-secret")},
        {"webhook_secret": SecretStr("whsec_aGlkZGVu")},
        {"webhook_url": "x", "webhook_secret": SecretStr(SECRET)},
    ],
)
def test_settings_that_make_no_sense_are_told_at_start(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="WEBHOOK_") as caught:
        Settings(**given)
    assert "hidden" not in str(caught.value)
    assert "aGlkZGVu" not in str(caught.value)


def test_no_more_than_may_be_due(services: Services, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "MOST_DUE", 10)
    for _ in range(15):
        services.queue.hooks.add("0" * 32, "https://x.example/")
    assert services.queue.hooks.promote() == (15, 5)
    assert services.queue.hooks.counts() == (0, 10)
    assert len(list(services.queue.redis.scan_iter(keys.hook("*")))) == 10
    assert all(services.queue.redis.ttl(key) > 0 for key in services.queue.redis.scan_iter(keys.hook("*")))


def test_a_lost_lease_says_nothing(services: Services) -> None:
    hooks = services.queue.hooks
    hooks.add("0" * 32, "https://x.example/")
    hooks.promote()
    (delivery,) = hooks.due(10)
    lease = hooks.lease(delivery.id, 0.05)
    assert lease is not None
    assert hooks.lease(delivery.id, 5) is None
    assert hooks.due(10) == []
    time.sleep(0.1)
    other = hooks.lease(delivery.id, 5)
    assert other is not None
    assert not hooks.settle(delivery.id, lease, attempts=1, seconds=None)
    assert hooks.settle(delivery.id, other, attempts=1, seconds=0)
    assert hooks.due(10)[0].attempts == 1


def test_hosts() -> None:
    assert host_of("https://User:p@X.example/a?b") == "x.example:https"
    assert host_of("http://[") == ""


def test_a_new_secret(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--new-secret"]) == 0
    secret = capsys.readouterr().out.strip()
    assert Settings(allow_webhooks=True, webhook_secret=SecretStr(secret)).webhook_secrets


@pytest.mark.stack
def test_a_killed_loop_loses_nothing(
    settings: Settings, upload: Upload, played: PlayedWorker, receive: Receive, services: Services, tmp_path: Path
) -> None:
    receiver = receive(held=True)
    for number in range(20):
        played.finish(sent(upload, number, webhook=receiver.url))
    output = tmp_path / "loop.log"
    environment = os.environ | {
        "REDIS_URL": settings.redis_url,
        "DATA_DIR": str(settings.data_dir),
        "WEIGHTS_DIR": str(settings.weights_dir),
        "CATALOG": str(settings.catalog),
        "ALLOW_WEBHOOKS": "true",
        "WEBHOOK_SECRET": SECRET,
    }

    def start(module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with output.open("ab") as log:
            command = [sys.executable, "-m", module, *arguments]
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    loop = start("tests.web.hook_loop")
    wait_for(lambda: len(receiver.seen) >= 2)
    assert start("web.webhooks", "--health").wait(20) == 0
    loop.kill()
    loop.wait(10)
    assert services.queue.hooks.counts() == (0, 20)
    assert receiver.held is not None
    receiver.held.set()
    begun = time.monotonic()
    loop = start("tests.web.hook_loop")
    wait_for(lambda: services.queue.hooks.counts() == (0, 0), 20)
    print(f"all told {time.monotonic() - begun:.1f} s after the restart")
    loop.send_signal(signal.SIGTERM)
    assert loop.wait(20) == 0
    assert len({headers["webhook-id"] for headers, _ in receiver.seen}) == 20
    assert len(receiver.seen) <= 20 + 4, "at most those under way come twice"
    text = output.read_text()
    assert "Traceback" not in text
    assert "hidden-token" not in text
    assert SECRET[6:] not in text


def test_redis_away_is_outlived(app: APIFlask, settings: Settings) -> None:
    found = deliverer(app, settings)
    with ThreadPoolExecutor(1) as pool:
        assert found.step(pool) is False
    found._hooks = Hooks(connect("unix:///nonexistent/redis.sock", patient=False))
    with delivering(found):
        time.sleep(0.3)
