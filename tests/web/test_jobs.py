import json
from datetime import datetime

import pytest
from flask.testing import FlaskClient

from shared.jobs import Progress
from shared.queue.connection import text
from tests.web.conftest import PlayedWorker, Upload, picture
from web.services import Services

NOBODY = "0" * 32


@pytest.fixture
def job_id(upload: Upload, photo: bytes) -> str:
    return str(upload((photo, "my dog.jpg")).get_json()["id"])


def events(client: FlaskClient, path: str) -> list[tuple[str, dict]]:  # type: ignore[type-arg]
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.mimetype == "text/event-stream"
    found = []
    for block in answer.get_data(as_text=True).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def test_the_life_of_a_job(client: FlaskClient, played: PlayedWorker, job_id: str) -> None:
    body = client.get(f"/jobs/{job_id}").get_json()
    assert (body["state"], body["position"], body["filename"], body["model"]) == ("queued", 1, "my dog.jpg", "small")
    assert body["result"] is None
    assert body["links"]["image"] is None
    played.start(job_id)
    played.services.queue.report_progress(job_id, Progress(phase="inference", percent=40))
    body = client.get(f"/jobs/{job_id}").get_json()
    assert (body["state"], body["position"]) == ("running", None)
    assert (body["progress"]["phase"], body["progress"]["percent"]) == ("inference", 40)
    assert body["started_at"] is not None
    played.finish(job_id, counts={"person": 2, "dog": 1})
    body = client.get(f"/jobs/{job_id}").get_json()
    assert body["state"] == "finished"
    assert body["progress"] is None
    assert body["result"]["counts"] == {"person": 2, "dog": 1}
    assert body["colours"]["dog"].startswith("#")
    assert body["nouns"] == {"person": "people", "dog": "dog"}
    assert body["expires_at"] > body["finished_at"]
    for name in ("image", "thumbnail", "json", "original", "view"):
        assert client.get(body["links"][name]).status_code == 200


def test_a_failed_job_says_why(client: FlaskClient, played: PlayedWorker, job_id: str) -> None:
    played.start(job_id)
    played.fail(job_id, '{"code": "bad_image", "message": "It is cut short."}')
    body = client.get(f"/jobs/{job_id}").get_json()
    assert body["state"] == "failed"
    assert body["error"] == {"code": "bad_image", "message": "It is cut short."}
    answer = client.get(f"/view/{job_id}")
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "bad_image"


def test_a_finished_job_outlives_redis(
    client: FlaskClient, services: Services, played: PlayedWorker, job_id: str
) -> None:
    played.start(job_id)
    finished_at = played.finish(job_id).finished_at
    services.queue.redis.flushall()
    body = client.get(f"/jobs/{job_id}").get_json()
    assert (body["state"], body["filename"]) == ("finished", "my dog.jpg")
    kept = datetime.fromisoformat(body["expires_at"]) - finished_at
    assert kept.total_seconds() == services.settings.result_ttl
    assert client.get(f"/view/{job_id}").data == b"jpg"
    page = client.get(f"/view/{job_id}", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert b"my dog.jpg" in page.data


@pytest.mark.parametrize("job_id", [NOBODY, "x", "..", "%2e%2e", "a" * 33, "A" * 32, "٣" * 32])
@pytest.mark.parametrize("path", ["/jobs/{}", "/view/{}", "/jobs/{}/events", "/results/{}/result.json"])
def test_there_is_no_such_job(client: FlaskClient, path: str, job_id: str) -> None:
    answer = client.get(path.format(job_id))
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == "not_found"


def test_an_error_is_a_page_for_a_browser(client: FlaskClient) -> None:
    answer = client.get(f"/view/{NOBODY}", headers={"Accept": "text/html,application/xhtml+xml"})
    assert answer.status_code == 404
    assert answer.mimetype == "text/html"
    assert b"no such job" in answer.data


def test_events_tell_the_whole_story(client: FlaskClient, played: PlayedWorker, job_id: str) -> None:
    played.start(job_id)
    played.finish(job_id)
    found = events(client, f"/jobs/{job_id}/events")
    assert [name for name, _ in found] == ["job", "end"]
    assert found[0][1]["result"]["counts"] == {"dog": 1, "person": 1}


def test_events_of_several_jobs(client: FlaskClient, upload: Upload, played: PlayedWorker, job_id: str) -> None:
    other = upload((picture(8, 8), "b.jpg")).get_json()["id"]
    for one in (job_id, other):
        played.start(one)
        played.finish(one)
    found = events(client, f"/events?id={job_id}&id={other}&id={NOBODY}")
    assert {body.get("state") for name, body in found if name == "job"} == {"finished", "gone"}
    assert {body["id"] for name, body in found if name == "job"} == {job_id, other, NOBODY}
    assert client.get("/events").status_code == 422
    assert client.get("/events?" + "&".join(f"id={n:032x}" for n in range(65))).status_code == 422


def test_listing(client: FlaskClient, upload: Upload, played: PlayedWorker) -> None:
    ids = [upload((picture(8, 8 + n), f"{n}.jpg")).get_json()["id"] for n in range(5)]
    played.start(ids[1])
    played.finish(ids[1])
    body = client.get("/jobs").get_json()
    assert [job["id"] for job in body["jobs"]] == ids[::-1]
    assert body["next"] is None
    assert "result" not in body["jobs"][0]
    first = client.get("/jobs?limit=2").get_json()
    second = client.get(f"/jobs?limit=2&cursor={first['next']}").get_json()
    third = client.get(f"/jobs?limit=2&cursor={second['next']}").get_json()
    assert [job["id"] for page in (first, second, third) for job in page["jobs"]] == ids[::-1]
    assert third["next"] is None
    assert [job["id"] for job in client.get("/jobs?state=finished").get_json()["jobs"]] == [ids[1]]
    assert len(client.get("/jobs?state=queued").get_json()["jobs"]) == 4


@pytest.mark.parametrize(
    "query", ["state=lost", "limit=0", "limit=1000", "cursor=x", "cursor=e", "cursor=(", "more=1e9"]
)
def test_bad_list_queries(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/jobs?{query}")
    assert answer.status_code == (200 if query.startswith("more") else 422)


def test_deleting_leaves_nothing(client: FlaskClient, services: Services, played: PlayedWorker, job_id: str) -> None:
    played.start(job_id)
    played.finish(job_id)
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert list(services.storage.list("")) == []
    assert client.get(f"/jobs/{job_id}").status_code == 404
    assert client.get("/jobs").get_json()["jobs"] == []
    assert client.delete(f"/jobs/{job_id}").status_code == 404
    left = [key for key in map(text, services.queue.redis.scan_iter("*")) if job_id in key]
    assert set(left) == {f"dropsight:events:{job_id}", f"dropsight:deleted:{job_id}"}
    assert all(services.queue.redis.ttl(key) > 0 for key in left)


def test_deleting_a_job_that_redis_forgot(
    client: FlaskClient, services: Services, played: PlayedWorker, job_id: str
) -> None:
    played.start(job_id)
    played.finish(job_id)
    services.queue.redis.flushall()
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert list(services.storage.list("")) == []


def test_canceling(client: FlaskClient, played: PlayedWorker, upload: Upload, job_id: str) -> None:
    answer = client.post(f"/jobs/{job_id}/cancel")
    assert answer.status_code == 202
    assert answer.get_json()["state"] == "canceled"
    assert client.get(f"/view/{job_id}").status_code == 410
    other = upload((picture(8, 8), "b.jpg")).get_json()["id"]
    played.start(other)
    played.finish(other)
    answer = client.post(f"/jobs/{other}/cancel")
    assert answer.status_code == 409
    assert answer.get_json()["error"]["code"] == "conflict"
    assert client.post(f"/jobs/{NOBODY}/cancel").status_code == 404


def test_counts(client: FlaskClient, upload: Upload, played: PlayedWorker) -> None:
    for number in range(2):
        job_id = upload((picture(8, 8 + number), "x.jpg")).get_json()["id"]
        played.start(job_id)
        played.finish(job_id)
        played.finish(job_id)  # a second time counts nothing
    assert client.get("/counts").get_json() == {"counts": {"dog": 2, "person": 2}, "total": 4}


def test_view_before_the_end(client: FlaskClient, job_id: str) -> None:
    answer = client.get(f"/view/{job_id}")
    assert answer.status_code == 202
    assert answer.get_json()["state"] == "queued"
    assert client.get(f"/view/{job_id}", headers={"Accept": "text/html"}).status_code == 200


def test_a_catalogue_in_the_middle_of_an_edit(client: FlaskClient, services: Services) -> None:
    path = services.settings.catalog
    good = path.read_text()
    assert client.get("/models").status_code == 200
    path.write_text(good + "\n[models.x")
    assert [model["name"] for model in client.get("/models").get_json()["models"]] == ["small", "large"]
    path.write_text(good + "[models.more]\n" + good.split("[models.large]")[1])
    assert len(client.get("/models").get_json()["models"]) == 3


def test_waiting_for_a_job(client: FlaskClient, played: PlayedWorker, job_id: str) -> None:
    assert client.get(f"/jobs/{job_id}?wait=1").status_code == 202
    played.start(job_id)
    played.finish(job_id)
    answer = client.get(f"/jobs/{job_id}", headers={"Prefer": "wait=5"})
    assert answer.status_code == 200
    assert answer.get_json()["state"] == "finished"
