import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared import logs
from tests.web.conftest import PlayedWorker, Upload
from web.services import Services


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "web.access_log")


def fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [getattr(record, logs.FIELDS) for record in caplog.records if record.name == "web.access_log"]


def test_an_id_goes_from_the_request_to_the_job(upload: Upload, photo: bytes, played: PlayedWorker) -> None:
    answer = upload((photo, "x.jpg"), headers={"X-Request-Id": "from-the-proxy.1"})
    assert answer.headers["X-Request-Id"] == "from-the-proxy.1"
    assert played.request(answer.get_json()["id"]).request_id == "from-the-proxy.1"


def test_an_id_that_is_none_is_not_taken(client: FlaskClient) -> None:
    seen = {client.get("/healthz", headers={"X-Request-Id": sent}).headers["X-Request-Id"] for sent in ("a b", "", "<")}
    assert len(seen) == 3
    assert seen.isdisjoint({"a b", "", "<"})


def test_an_error_page_shows_the_id(client: FlaskClient) -> None:
    answer = client.get("/no/such/page", headers={"Accept": "text/html", "X-Request-Id": "r-77"})
    assert "<code>r-77</code>" in answer.get_data(as_text=True)


def test_a_line_for_uploads_and_errors_only(
    client: FlaskClient, upload: Upload, photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = upload((photo, "x.jpg")).get_json()["id"]
    for path in (f"/jobs/{job_id}", "/jobs", "/metrics", "/healthz", "/readyz", "/static/css/base.css"):
        client.get(path).close()
    client.get("/jobs/none")
    done, failed = fields(caplog)
    assert (done["method"], done["path"], done["status"], done["jobs"]) == ("POST", "/upload", 202, [job_id])
    assert done["bytes"] > len(photo)
    assert (failed["path"], failed["status"], failed["error"]) == ("/jobs/none", 404, "not_found")


def test_each_request_begins_anew(client: FlaskClient, services: Services) -> None:
    first, second = (client.get("/healthz").headers["X-Request-Id"] for _ in range(2))
    assert first != second
