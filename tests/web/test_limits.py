from pathlib import Path

import pytest
from flask.testing import FlaskClient

from shared.settings import Settings
from tests.conftest import RedisServer, make_redis_server
from tests.web.conftest import PlayedWorker, picture, post_files
from web.app import create_app
from web.keys import hash_of
from web.limits import client as client_name
from web.services import EXTENSION, Services


def test_more_uploads_than_may_be(settings: Settings, photo: bytes) -> None:
    app = create_app(settings.model_copy(update={"rate_limit": "2/minute"}))
    services: Services = app.extensions[EXTENSION]
    services.storage.prepare()
    client = app.test_client()

    def send(address: str = "192.0.2.1") -> tuple[int, str]:
        client.environ_base["REMOTE_ADDR"] = address
        answer = post_files(client, (photo, "x.jpg"))
        if answer.status_code == 429:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            assert answer.get_json()["error"]["code"] == "rate_limited"
        else:
            assert "Retry-After" not in answer.headers
        return answer.status_code, answer.headers["X-RateLimit-Remaining"]

    assert [send() for _ in range(3)] == [(202, "1"), (202, "0"), (429, "0")]
    assert send("192.0.2.2")[0] == 202
    assert client.get("/jobs").status_code == 200, "only what makes work is counted"
    assert "X-RateLimit-Limit" not in client.get("/jobs").headers
    assert len(list(services.storage.list("inputs/"))) == 3
    for key in services.queue.redis.scan_iter("*"):  # what the ACL of docker-compose.yml lets us touch
        assert key.startswith((b"dropsight:", b"rq:")), key
    services.close()


def test_a_key_is_a_client_wherever_it_comes_from(settings: Settings, photo: bytes) -> None:
    update = {"rate_limit": "1/minute", "api_keys": f"a:{hash_of('ds_a')},b:{hash_of('ds_b')}"}
    app = create_app(settings.model_copy(update=update))
    app.extensions[EXTENSION].storage.prepare()
    client = app.test_client()

    def send(key: str, address: str) -> int:
        client.environ_base["REMOTE_ADDR"] = address
        return post_files(client, (photo, "x.jpg"), headers={"X-Api-Key": key}).status_code

    assert send("ds_a", "192.0.2.1") == 202
    assert send("ds_a", "192.0.2.2") == 429
    assert send("ds_b", "192.0.2.2") == 202
    assert [client.post("/sign-in", data={"key": "x"}).status_code for _ in range(2)] == [401, 429]
    app.extensions[EXTENSION].close()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "address:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "address:192.0.2.1"),
        ("", "address:"),
    ],
)
def test_who_a_client_is(client: FlaskClient, address: str, name: str) -> None:
    with client.application.test_request_context("/", environ_base={"REMOTE_ADDR": address}):
        assert client_name() == name


def test_no_limit_and_a_wrong_one(settings: Settings, photo: bytes) -> None:
    app = create_app(settings.model_copy(update={"rate_limit": "off"}))
    app.extensions[EXTENSION].storage.prepare()
    assert post_files(app.test_client(), (photo, "x.jpg")).status_code == 202
    app.extensions[EXTENSION].close()
    with pytest.raises(ValueError, match="RATE_LIMIT='fast' is none"):
        create_app(settings.model_copy(update={"rate_limit": "fast"}))


def test_counting_needs_redis(
    settings: Settings, short_tmp: Path, photo: bytes, request: pytest.FixtureRequest
) -> None:
    """Without Redis nothing can be queued anyway: 503, and all is well when it is back."""
    server: RedisServer = make_redis_server(short_tmp / "counting")
    server.start()
    request.addfinalizer(server.kill)
    app = create_app(settings.model_copy(update={"redis_url": server.url}))
    app.extensions[EXTENSION].storage.prepare()
    client = app.test_client()
    assert post_files(client, (photo, "x.jpg")).status_code == 202
    server.kill()
    answer = post_files(client, (photo, "x.jpg"))
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "queue_down")
    assert "Retry-After" in answer.headers
    assert client.post("/sign-in", data={"key": "x"}).status_code == 503
    server.start()
    assert post_files(client, (photo, "x.jpg")).status_code == 202
    app.extensions[EXTENSION].close()


def test_one_client_cannot_fill_the_queue(settings: Settings, photo: bytes) -> None:
    app = create_app(settings.model_copy(update={"max_queue": 50, "max_queue_per_client": 3}))
    services: Services = app.extensions[EXTENSION]
    services.storage.prepare()
    client, played = app.test_client(), PlayedWorker(services)

    def send(count: int = 1, address: str = "192.0.2.1") -> int:
        client.environ_base["REMOTE_ADDR"] = address
        answer = post_files(client, *[(picture(8, 8), "x.jpg")] * count)
        if answer.status_code == 429:
            assert answer.get_json()["error"]["code"] == "queue_full"
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status_code

    assert [send(2), send(2), send(1), send(1)] == [202, 429, 202, 429]
    assert send(4, "192.0.2.2") == 413, "to wait would be no help"
    assert send(3, "192.0.2.2") == 202
    jobs = [job["id"] for job in client.get("/jobs").get_json()["jobs"]]
    assert len(jobs) == 6
    played.start(jobs[-1])
    assert [send(), send()] == [202, 429], "a job that runs waits no more"
    client.post(f"/jobs/{jobs[-2]}/cancel")
    client.delete(f"/jobs/{jobs[-3]}")
    assert [send(2), send()] == [202, 429]
    assert len(list(services.storage.list("inputs/"))) == 8
    services.close()
