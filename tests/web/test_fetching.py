import dataclasses
from collections.abc import Iterator

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.safe_http import SafeClient
from shared.settings import Settings
from tests.shared.test_safe_http import Page, Site, anything, site
from tests.web.conftest import post_files
from web.app import create_app
from web.services import EXTENSION, Services

__all__ = ["site"]


@pytest.fixture
def fetching(settings: Settings) -> Iterator[APIFlask]:
    """An app that may fetch, also from this machine."""
    app = create_app(settings.model_copy(update={"allow_url_input": True, "url_timeout": 2}))
    services: Services = app.extensions[EXTENSION]
    services.storage.prepare()
    app.extensions[EXTENSION] = dataclasses.replace(services, http=SafeClient(anything))
    yield app
    services.close()


def send(client: FlaskClient, url: str) -> TestResponse:
    return client.post("/upload", data={"url": url})


def stored(app: APIFlask) -> list[str]:
    return [item.key for item in app.extensions[EXTENSION].storage.list("inputs/")]


def test_off_by_default(client: FlaskClient, site: Site) -> None:
    answer = send(client, f"{site.url}/dog.jpg")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "url_refused")
    assert "ALLOW_URL_INPUT" in answer.get_json()["error"]["message"]
    assert site.seen == []


def test_a_photo_is_fetched(fetching: APIFlask, site: Site, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def give(page: Page) -> None:
        page.send_response(200)
        page.send_header("Content-Length", str(len(photo)))
        page.send_header("Content-Type", "text/html")
        page.end_headers()
        page.wfile.write(photo)

    monkeypatch.setattr(Page, "do_GET", give)
    client = fetching.test_client()
    answer = send(client, f" {site.url}/a%20dog.jpg?size=1 ")
    assert answer.status_code == 202
    job = client.get(answer.get_json()["status_url"]).get_json()
    assert (job["filename"], job["state"]) == ("a dog.jpg", "queued")
    assert stored(fetching) == [f"inputs/{job['id']}.jpg"]
    both = post_files(client, (photo + b"\0", "own.jpg"), url=f"{site.url}/")
    assert len(both.get_json()["jobs"]) == 2
    assert client.get(both.get_json()["jobs"][1]["status_url"]).get_json()["filename"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("hello", 415, "unsupported_type"),
        ("missing", 422, "url_failed"),
        ("short", 422, "url_failed"),
        ("drip", 422, "url_failed"),
        ("endless", 413, "too_large"),
        ("redirect?file:///etc/passwd", 422, "url_refused"),
    ],
)
def test_what_goes_wrong_leaves_nothing(fetching: APIFlask, site: Site, path: str, status: int, code: str) -> None:
    answer = send(fetching.test_client(), f"{site.url}/{path}")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (status, code)
    assert stored(fetching) == []


def test_this_machine_is_no_public_address(settings: Settings, site: Site) -> None:
    app = create_app(settings.model_copy(update={"allow_url_input": True}))
    answer = send(app.test_client(), f"{site.url}/dog.jpg")
    assert answer.get_json()["error"]["code"] == "url_refused"
    assert site.seen == []
    app.extensions[EXTENSION].close()
