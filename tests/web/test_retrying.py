"""`POST /jobs/<id>/retry`: what an owner may do; what comes of it is tested with the operator's button."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest
from flask.testing import FlaskClient
from rq.job import JobStatus

from shared.errors import PublicError
from shared.jobs import JobState
from shared.queue import PartOrder, keys
from shared.queue.parts import part_id
from shared.queue.records import JobRecord
from shared.settings import Settings
from tests.web.conftest import PlayedWorker, Upload, picture, post_files
from tests.web.test_again import code
from tests.web.test_status import failed
from tests.web.test_videos import MP4
from web.app import create_app
from web.keys import hash_of
from web.services import EXTENSION, Services

NOBODY = "0" * 32


def test_it_is_the_same_job(client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker) -> None:
    job_id = failed(services, upload, played, "internal")
    answer = client.post(f"/jobs/{job_id}/retry")
    body = answer.get_json()
    assert (answer.status_code, body["id"], body["state"], body["position"], body["error"]) == (
        202,
        job_id,
        "queued",
        1,
        None,
    )
    assert code(client.post(f"/jobs/{job_id}/retry")) == (409, "conflict")
    played.start(job_id)
    played.finish(job_id)
    assert client.get(f"/jobs/{job_id}").get_json()["result"]["counts"] == {"dog": 1, "person": 1}


def test_there_is_none(client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker) -> None:
    for job_id in (NOBODY, "x"):
        assert code(client.post(f"/jobs/{job_id}/retry")) == (404, "not_found")
    job_id = failed(services, upload, played)
    services.storage.delete(played.request(job_id).input.key)
    assert code(client.post(f"/jobs/{job_id}/retry")) == (410, "input_gone")


@pytest.mark.parametrize("limit", ["max_queue", "max_queue_per_client"])
def test_it_needs_room_like_any_other(settings: Settings, limit: str) -> None:
    app = create_app(settings.model_copy(update={limit: 2}))
    parts: Services = app.extensions[EXTENSION]
    parts.storage.prepare()
    client, played = app.test_client(), PlayedWorker(parts)
    send: Upload = partial(post_files, client)
    jobs = [failed(parts, send, played) for _ in range(3)]
    for job_id in jobs[:2]:
        assert client.post(f"/jobs/{job_id}/retry").status_code == 202
    assert code(client.post(f"/jobs/{jobs[2]}/retry")) == (429, "queue_full")
    assert code(post_files(client, (picture(9, 9), "a.jpg"))) == (429, "queue_full")
    parts.close()


def test_many_at_once_find_no_more_room_than_one_after_the_other(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_queue": 2}))
    parts: Services = app.extensions[EXTENSION]
    parts.storage.prepare()
    played, send = PlayedWorker(parts), partial(post_files, app.test_client())
    jobs = [failed(parts, send, played) for _ in range(6)]
    barrier = Barrier(len(jobs))  # all have passed the look for room before
    retry = parts.overview.retry

    def together(job_id: str, client: str | None = None) -> None:
        barrier.wait(10)
        retry(job_id, client)

    parts.overview.retry = together  # type: ignore[method-assign]
    with ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(lambda job_id: app.test_client().post(f"/jobs/{job_id}/retry").status_code, jobs))
    assert sorted(answers) == [202, 202, 429, 429, 429, 429]
    assert parts.queue.waiting() == 2
    retry(jobs[answers.index(429)])  # an operator's is none of a client's
    assert parts.queue.waiting() == 3
    parts.close()


def test_who_presses_second_leaves_the_parts_of_a_video_alone(
    services: Services, upload: Upload, played: PlayedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = upload((MP4, "street.mp4")).get_json()["id"]
    job = played.job(job_id)
    job.set_status(JobStatus.FAILED)
    parts, look = services.queue.parts, services.queue.get

    def slowly(asked: str) -> JobRecord | None:
        record = look(asked)
        monkeypatch.undo()
        services.overview.retry(job_id)
        parts.order(played.request(job_id), [PartOrder(0, 1, 60)], {})
        return record

    monkeypatch.setattr(services.queue, "get", slowly)
    with pytest.raises(PublicError, match="conflict"):
        services.overview.retry(job_id)
    assert services.queue.lanes.parts.get_job_ids() == [part_id(job_id, 0)]


def test_an_old_job_does_not_make_the_queue_look_slow(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker
) -> None:
    job_id = failed(services, upload, played)
    job = played.job(job_id)
    job.kwargs = {"request": job.kwargs["request"] | {"created_at": "2026-01-01T00:00:00Z"}}
    job.save()
    assert client.post(f"/jobs/{job_id}/retry").status_code == 202
    assert services.overview.lanes()[0].oldest_seconds < 3600


def test_what_a_later_worker_says_is_no_fault_of_the_job(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker
) -> None:
    job_id = upload((picture(8, 8), "a.jpg")).get_json()["id"]
    played.start(job_id)
    services.queue.redis.hset(played.job(job_id).key, keys.PROGRESS, '{"phase": "dream", "percent": 3}')
    body = client.get(f"/jobs/{job_id}").get_json()
    assert (body["state"], body["progress"]) == ("running", None)


def test_it_takes_the_key_of_the_job(settings: Settings, photo: bytes) -> None:
    entries = ",".join(f"{name}:{hash_of(name)}" for name in ("anna", "bert"))
    app = create_app(settings.model_copy(update={"api_keys": entries, "rate_limit": "1/minute"}))
    parts: Services = app.extensions[EXTENSION]
    parts.storage.prepare()
    client, played = app.test_client(), PlayedWorker(parts)
    anna, bert = ({"Authorization": f"Bearer {name}"} for name in ("anna", "bert"))
    job_id = post_files(client, (photo, "dog.jpg"), headers=anna).get_json()["id"]
    played.start(job_id)
    played.fail(job_id, '{"code": "internal", "message": "So it is."}')
    path = f"/jobs/{job_id}/retry"
    assert code(client.post(path)) == (401, "unauthorized")
    assert code(client.post(path, headers=bert)) == (403, "forbidden")
    record = parts.queue.get(job_id)
    assert record is not None
    assert record.state is JobState.FAILED
    # the button is for whoever may press it
    pages = [client.get(f"/view/{job_id}", headers={"Accept": "text/html", **key}).data for key in (anna, {})]
    assert [b"data-may-act" in page for page in pages] == [True, False]
    assert client.post(path, headers=anna).status_code == 202
    assert parts.queue.redis.zscore(keys.client("key:anna"), job_id)
    assert code(client.post(path, headers=anna)) == (429, "rate_limited")
    parts.close()
