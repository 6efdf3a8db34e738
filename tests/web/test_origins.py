import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient

from shared.settings import Settings
from tests.web.conftest import post_files
from web.app import create_app
from web.services import EXTENSION, Services

FRIEND = "https://friend.example"


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, False),
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "http://LOCALHOST:80"}, False),
        ({"Origin": "https://localhost"}, False),  # a proxy in front may end TLS
        ({"Origin": "ftp://localhost"}, True),
        ({"Origin": "http://user@localhost"}, True),
        ({"Origin": "http://localhost/path"}, True),
        ({"Origin": "http://localhost:8080"}, True),
        ({"Origin": "http://localhost.evil.example"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://[::1"}, True),
        ({"Origin": "http://localhost:99999"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, True),
    ],
)
def test_pages_of_others_change_nothing(
    client: FlaskClient, services: Services, photo: bytes, headers: dict[str, str], refused: bool
) -> None:
    job = "/jobs/" + "0" * 32
    answers = [
        post_files(client, (photo, "x.jpg"), headers=headers),
        client.delete(job, headers=headers),
        client.post(f"{job}/cancel", headers=headers),
    ]
    if refused:
        assert [answer.get_json()["error"]["code"] for answer in answers] == ["cross_origin"] * 3
        assert {answer.status_code for answer in answers} == {403}
        assert list(services.storage.list("inputs/")) == []
    else:
        assert [answer.status_code for answer in answers] == [202, 404, 404]
    assert client.get("/jobs", headers=headers).status_code == 200
    assert all("Access-Control-Allow-Origin" not in answer.headers for answer in answers)


def test_no_other_origin_is_allowed_unless_it_is_named(client: FlaskClient) -> None:
    answer = client.options("/upload", headers={"Origin": FRIEND, "Access-Control-Request-Method": "POST"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.fixture
def befriended(settings: Settings) -> APIFlask:
    return create_app(settings.model_copy(update={"cors_origins": f"{FRIEND}/, http://other.example:8080"}))


def test_cors_for_just_those_that_are_named(befriended: APIFlask, photo: bytes) -> None:
    client = befriended.test_client()
    befriended.extensions[EXTENSION].storage.prepare()
    asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    preflight = client.options("/jobs/" + "0" * 32, headers={"Origin": FRIEND, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    sent = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    answer = post_files(client, (photo, "x.jpg"), headers=sent)
    assert answer.status_code == 202
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Origin" in answer.headers["Vary"]
    refused = client.get("/jobs?limit=0", headers=sent)
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (422, FRIEND)
    for other in ("https://evil.example", "http://friend.example", f"{FRIEND}:444", "null", f"{FRIEND}.evil.example"):
        answer = client.options("/upload", headers={"Origin": other, **asked})
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert client.post("/upload", headers={"Origin": other}).status_code == 403
    befriended.extensions[EXTENSION].close()


def test_a_preflight_needs_no_key(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": FRIEND, "api_keys": "a:" + "a" * 64}))
    headers = {"Origin": FRIEND, "Access-Control-Request-Method": "GET"}
    assert app.test_client().options("/jobs", headers=headers).status_code == 204
    assert app.test_client().get("/jobs", headers=headers).status_code == 401
    app.extensions[EXTENSION].close()


def test_names_that_are_not_ours_are_refused(settings: Settings) -> None:
    """DNS rebinding: the page of a stranger whose name leads here is of our origin, but for the name."""
    app = create_app(settings.model_copy(update={"allowed_hosts": "photos.example, .lan"}))
    client = app.test_client()
    for host in ("photos.example", "photos.example:8443", "box.lan", "localhost:5000", "127.0.0.1", "[::1]:5000"):
        assert client.get("/jobs", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "photos.example.evil.example", "evilphotos.example", "10.0.0.1"):
        for accept in ("*/*", "text/html"):
            answer = client.get("/", headers={"Host": host, "Accept": accept})
            assert answer.status_code == 400, host
        assert client.get("/jobs", headers={"Host": host}).get_json()["error"]["code"] == "bad_request"
    app.extensions[EXTENSION].close()
