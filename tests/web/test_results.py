import pytest
from flask.testing import FlaskClient

from tests.web.conftest import PlayedWorker, Upload


@pytest.fixture
def job_id(upload: Upload, played: PlayedWorker, photo: bytes) -> str:
    job_id = str(upload((photo, "../../etc/pass<b>wd\u00e9.jpg")).get_json()["id"])
    played.start(job_id)
    played.finish(job_id)
    return job_id


def test_files_have_fixed_types_and_can_run_nothing(client: FlaskClient, job_id: str, photo: bytes) -> None:
    answer = client.get(f"/results/{job_id}/annotated.jpg")
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/jpeg", b"jpg")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"].startswith("inline; filename=")
    original = client.get(f"/results/{job_id}/original")
    assert (original.mimetype, original.data) == ("image/jpeg", photo)


def test_a_download_is_named_after_the_upload_but_is_no_path(client: FlaskClient, job_id: str) -> None:
    answer = client.get(f"/results/{job_id}/annotated.jpg?download=1")
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=")
    assert "/" not in disposition
    assert "<" not in disposition
    assert "annotated.jpg" in disposition


def test_a_client_that_has_the_file_need_not_load_it_again(client: FlaskClient, job_id: str) -> None:
    first = client.get(f"/results/{job_id}/annotated.jpg")
    again = client.get(f"/results/{job_id}/annotated.jpg", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    "name", ["other.jpg", "../inputs/x", "..%2f..%2fetc%2fpasswd", "result.json.tmp", "", "annotated.jpg/x"]
)
def test_nothing_else_is_served(client: FlaskClient, job_id: str, name: str) -> None:
    assert client.get(f"/results/{job_id}/{name}").status_code == 404


def test_names_are_shown_escaped(client: FlaskClient, job_id: str) -> None:
    page = client.get(f"/view/{job_id}", headers={"Accept": "text/html"}).get_data(as_text=True)
    assert "pass<b>wd" not in page
    assert "pass&lt;b&gt;wd" in page


def test_every_answer_has_the_headers(client: FlaskClient, job_id: str) -> None:
    for path in ("/", "/models", f"/view/{job_id}", "/nowhere", "/openapi.json", "/docs"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "Referrer-Policy" in headers
