import re
from pathlib import Path

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from werkzeug.test import TestResponse

from shared.settings import Settings
from tests.web.conftest import PlayedWorker, picture, post_files
from web import access, keys
from web.app import create_app
from web.keys import ApiKeys, BadKeysError, hash_of
from web.services import EXTENSION, Services

ANNA, BERT, BERT_2 = "ds_anna", "ds_bert", "ds_bert_2"
ENTRIES = f"anna:{hash_of(ANNA)}, bert:{hash_of(BERT)},bert:{hash_of(BERT_2)}"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"api_keys": ENTRIES})


def as_(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def send(client: FlaskClient, content: bytes, key: str | None = None) -> TestResponse:
    return post_files(client, (content, "x.jpg"), headers=as_(key) if key else None)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["code"]


def test_entries_are_read() -> None:
    parsed = ApiKeys.parse(f"# ours\nanna:{'a' * 64}, \n\nbert:{'b' * 64} # until May\n")
    assert parsed.entries == (("anna", "a" * 64), ("bert", "b" * 64))
    assert not ApiKeys.parse(" , \n")
    assert ApiKeys.parse(ENTRIES).owner_of(BERT) == ApiKeys.parse(ENTRIES).owner_of(BERT_2) == "bert"
    for wrong in ("", "x", ANNA + "x", "anna", hash_of(ANNA), "é", "x" * 100_000):
        assert ApiKeys.parse(ENTRIES).owner_of(wrong) is None


@pytest.mark.parametrize(
    "entry", ["secret-key", "anna:secret-key", ":" + "a" * 64, "an na:" + "a" * 64, "a:" + "A" * 64]
)
def test_an_entry_that_is_none_is_not_shown(entry: str) -> None:
    with pytest.raises(BadKeysError, match="Entry 2 of API_KEYS") as caught:
        ApiKeys.parse(f"anna:{'a' * 64},{entry}")
    assert "secret" not in str(caught.value)


def test_keys_from_a_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"carl:{hash_of('c')}\n")
    both = ApiKeys.load(settings.model_copy(update={"api_keys_file": file}))
    assert [both.owner_of(key) for key in (ANNA, "c")] == ["anna", "carl"]
    file.write_text("# none\n")
    for update in ({"api_keys": "", "api_keys_file": file}, {"api_keys": " ,"}, {"api_keys_file": tmp_path / "gone"}):
        with pytest.raises(BadKeysError):
            create_app(settings.model_copy(update=update))


def test_the_command_makes_a_key_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["anna"]) == 0
    key, entry = (line.rsplit(" ", 1)[1] for line in capsys.readouterr().out.splitlines())
    assert len(key) > 40
    assert ApiKeys.parse(entry).owner_of(key) == "anna"
    assert key not in entry
    assert keys.main(["an na"]) == 2


def test_every_path_needs_a_key_but_those_of_links(app: APIFlask, client: FlaskClient) -> None:
    """A path that is added later is closed until somebody says otherwise."""
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}
    assert endpoints >= access.OPEN
    job_id = "0" * 32
    for rule in app.url_map.iter_rules():
        if rule.endpoint in access.OPEN | access.PAGES:
            continue
        path = re.sub("<(job|training|stream)_id>", job_id, rule.rule).replace("<name>", "x")
        path = path.replace("<int:number>", "1")
        assert "<" not in path, rule
        for method in rule.methods - {"HEAD", "OPTIONS"}:  # type: ignore[operator]
            answer = client.open(path, method=method)
            assert code(answer) == (401, "unauthorized"), rule
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for path in ("/healthz", "/docs", "/openapi.json", "/sign-out-of-nowhere"):
        assert client.get(path).status_code in (200, 404)


def test_the_document_says_how_to_send_a_key(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    validate(document)
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    assert document["security"] == [{"ApiKey": []}]


def test_a_wrong_key_is_none(client: FlaskClient, photo: bytes, services: Services) -> None:
    for headers in (as_("ds_x"), {"X-Api-Key": "ds_x"}, {"Authorization": f"Basic {ANNA}"}, as_(hash_of(ANNA))):
        assert client.get("/jobs", headers=headers).status_code == 401
    assert code(send(client, photo, "wrong")) == (401, "unauthorized")
    assert list(services.storage.list("inputs/")) == []
    assert client.get("/jobs", headers={"X-Api-Key": ANNA}).status_code == 200


def test_each_sees_what_is_theirs(client: FlaskClient, photo: bytes, played: PlayedWorker) -> None:
    annas = send(client, photo, ANNA).get_json()["id"]
    berts = send(client, picture(9, 9), BERT).get_json()["id"]
    for key, expected in ((ANNA, annas), (BERT, berts), (BERT_2, berts)):
        listed = client.get("/jobs", headers=as_(key)).get_json()
        assert [job["id"] for job in listed["jobs"]] == [expected]
    for method, path in (("POST", f"/jobs/{annas}/cancel"), ("DELETE", f"/jobs/{annas}")):
        assert code(client.open(path, method=method, headers=as_(BERT))) == (403, "forbidden")
    assert client.get(f"/jobs/{annas}").get_json()["state"] == "queued"
    assert "owner" not in client.get(f"/jobs/{annas}").get_json()
    played.finish(annas)
    assert client.get("/counts", headers=as_(ANNA)).get_json()["total"] == 2
    assert client.get("/counts", headers=as_(BERT)).get_json()["total"] == 0
    assert client.delete(f"/jobs/{annas}", headers=as_(ANNA)).status_code == 204
    assert client.get("/jobs", headers=as_(ANNA)).get_json()["jobs"] == []
    assert client.post(f"/jobs/{berts}/cancel", headers=as_(BERT_2)).status_code == 202
    assert code(client.delete("/jobs/" + "0" * 32, headers=as_(BERT))) == (404, "not_found")


def test_links_open_without_a_key(client: FlaskClient, photo: bytes, played: PlayedWorker) -> None:
    job_id = send(client, photo, ANNA).get_json()["id"]
    played.finish(job_id)
    for path in (f"/view/{job_id}", f"/jobs/{job_id}", f"/results/{job_id}/annotated.jpg", f"/jobs/{job_id}/events"):
        with client.get(path) as answer:
            assert answer.status_code == 200
    assert client.get(f"/view/{job_id}", headers={"Accept": "text/html"}).status_code == 200


def test_a_quick_answer_tells_nothing_of_others(client: FlaskClient, photo: bytes, played: PlayedWorker) -> None:
    first = send(client, photo, ANNA).get_json()["id"]
    played.finish(first)
    assert send(client, photo, BERT).status_code == 202
    again = send(client, photo, ANNA)
    assert (again.status_code, again.get_json()["id"]) == (200, first)


def test_signing_in(client: FlaskClient, photo: bytes) -> None:
    page = client.get("/", headers={"Accept": "text/html"}, follow_redirects=True)
    assert page.status_code == 401
    assert 'type="password"' in page.get_data(as_text=True)
    wrong = client.post("/sign-in", data={"key": "ds_x"})
    assert wrong.status_code == 401
    assert "Set-Cookie" not in wrong.headers
    answer = client.post("/sign-in", data={"key": f" {ANNA} "})
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "Sign out" in client.get("/").get_data(as_text=True)
    assert send(client, photo).status_code == 202
    assert len(client.get("/jobs").get_json()["jobs"]) == 1
    assert client.get("/sign-in").status_code == 303
    assert client.post("/sign-out").status_code == 303
    assert client.get("/jobs").status_code == 401


def test_the_cookie_is_for_secure_connections_where_there_are_some(client: FlaskClient) -> None:
    answer = client.post("/sign-in", data={"key": ANNA}, base_url="https://localhost")
    assert "Secure" in answer.headers["Set-Cookie"]


def test_signing_in_takes_no_files(client: FlaskClient, services: Services, photo: bytes) -> None:
    for path in ("/sign-in", "/sign-out", "/jobs/" + "0" * 32 + "/cancel"):
        assert post_files(client, (photo, "x.jpg"), path=path).status_code in (303, 400, 401)
    assert client.post("/sign-in", data={"key": "x" * 10_000}).status_code == 413
    assert list(services.storage.list("inputs/")) == []


@pytest.mark.parametrize(
    ("host", "entries", "loud"),
    [
        ("127.0.0.1", "", False),
        ("localhost", "", False),
        ("::1", "", False),
        ("0.0.0.0", "", True),
        ("10.1.1.1", ENTRIES, False),
    ],
)
def test_an_open_door_is_said_aloud(
    settings: Settings, caplog: pytest.LogCaptureFixture, host: str, entries: str, loud: bool
) -> None:
    app = create_app(settings.model_copy(update={"host": host, "api_keys": entries}))
    app.extensions[EXTENSION].close()
    assert ("ANYBODY" in caplog.text) is loud
