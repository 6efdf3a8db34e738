"""`POST /jobs/<id>/again`: the same file once more, with other options."""

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.settings import Settings
from shared.storage import MissingObjectError
from shared.videos import VideoOptions
from tests.web.conftest import PlayedWorker, Upload, announce, picture, post_files
from web.app import create_app
from web.keys import hash_of
from web.services import EXTENSION, Services

NOBODY = "0" * 32
#: the beginning of an MP4 is all that the web tier looks at
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42" + bytes(5000)


@pytest.fixture
def first(upload: Upload, photo: bytes) -> str:
    return str(upload((photo, "dog.jpg"), score="0.5", top="7").get_json()["id"])


def again(client: FlaskClient, job_id: str, **fields: str) -> TestResponse:
    return client.post(f"/jobs/{job_id}/again", data=fields)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["code"]


def test_a_new_job_of_the_same_file(client: FlaskClient, services: Services, played: PlayedWorker, first: str) -> None:
    played.start(first)
    played.finish(first)
    answer = again(client, first, score="0.25")
    body = answer.get_json()
    assert answer.status_code == 202
    assert (body["state"], body["position"], body["cached"]) == ("queued", 1, False)
    assert answer.headers["Location"] == body["status_url"]
    old, new = played.request(first), played.request(body["id"])
    assert new.id != old.id
    assert (new.options.score, new.options.top, new.model) == (0.25, 7, old.model)
    assert new.input.model_dump(exclude={"key"}) == old.input.model_dump(exclude={"key"})
    # either can be deleted without the other's
    assert client.delete(f"/jobs/{first}").status_code == 204
    assert services.storage.get(new.input.key).startswith(b"\xff\xd8")
    with pytest.raises(MissingObjectError):
        services.storage.get(old.input.key)


def test_the_same_options_give_the_same_job(
    client: FlaskClient, services: Services, played: PlayedWorker, first: str
) -> None:
    played.start(first)
    played.finish(first)
    answer = again(client, first)
    assert (answer.status_code, answer.get_json()["id"], answer.get_json()["cached"]) == (200, first, True)
    assert [stat.key for stat in services.storage.list("inputs/")] == [played.request(first).input.key]


def test_several_models(client: FlaskClient, services: Services, played: PlayedWorker, first: str) -> None:
    announce(services, "small", "large")
    jobs = again(client, first, model="small,large", score="0.3").get_json()["jobs"]
    assert [played.request(job["id"]).model for job in jobs] == ["small", "large"]
    assert len({played.request(job["id"]).input.key for job in jobs}) == 2


def test_options_of_a_video_stay_but_for_those_that_are_sent(
    client: FlaskClient, upload: Upload, played: PlayedWorker
) -> None:
    first = upload((MP4, "street.mp4"), every="3", start="2", zone="0,0 1,0 1,1").get_json()["id"]

    def options(job_id: str) -> VideoOptions:
        found = played.request(job_id).video
        assert found is not None
        return found

    second = again(client, first, line="0.1,0.5,0.9,0.5", fps="2").get_json()["id"]
    line = (0.1, 0.5, 0.9, 0.5)
    corners = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
    # one of every and fps takes the place of the other
    assert options(second) == VideoOptions(start=2, every=1, fps=2, line=line, zone=corners)
    third = again(client, second, zone="", every="5").get_json()["id"]
    assert options(third) == VideoOptions(start=2, every=5, line=line)


def test_a_job_that_redis_has_forgotten(
    client: FlaskClient, services: Services, played: PlayedWorker, first: str
) -> None:
    played.start(first)
    played.finish(first)
    services.queue.redis.flushall()
    new = played.request(again(client, first, iou="0.9").get_json()["id"])
    assert (new.options.score, new.options.iou, new.input.filename, new.video) == (0.5, 0.9, "dog.jpg", None)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"score": "2"}, (422, "invalid_option")),
        ({"model": "none"}, (422, "unknown_model")),
        ({"scores": "0.5"}, (422, "invalid_option")),
        ({"line": "1,2,3"}, (422, "invalid_option")),
    ],
)
def test_what_is_wrong_leaves_nothing_behind(
    client: FlaskClient, services: Services, played: PlayedWorker, first: str, fields: dict[str, str], wrong: object
) -> None:
    assert code(again(client, first, **fields)) == wrong
    assert services.queue.waiting() == 1
    assert [stat.key for stat in services.storage.list("inputs/")] == [played.request(first).input.key]


def test_there_is_none(client: FlaskClient, services: Services, played: PlayedWorker, first: str) -> None:
    for job_id in (NOBODY, "x"):
        assert code(again(client, job_id)) == (404, "not_found")
    services.storage.delete(played.request(first).input.key)
    assert code(again(client, first, score="0.3")) == (410, "input_gone")
    assert code(post_files(client, (picture(8, 8), "a.jpg"), path=f"/jobs/{first}/again")) == (400, "bad_request")


def test_a_full_queue_is_found_out_before_anything_is_copied(
    client: FlaskClient, services: Services, settings: Settings, first: str
) -> None:
    for number in range(settings.max_queue - 1):
        again(client, first, score=f"0.{number + 1}")
    assert code(again(client, first, score="0.9")) == (429, "queue_full")
    assert len(list(services.storage.list("inputs/"))) == settings.max_queue


def test_a_form_without_scripts_leads_to_the_page(client: FlaskClient, first: str) -> None:
    answer = client.post(f"/jobs/{first}/again", data={"score": "0.3"}, headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert client.get(answer.location, headers={"Accept": "text/html"}).status_code == 200


def test_it_takes_the_key_of_the_job(settings: Settings, photo: bytes) -> None:
    keys = f"anna:{hash_of('ds_anna')},bert:{hash_of('ds_bert')}"
    app = create_app(settings.model_copy(update={"api_keys": keys, "rate_limit": "3/minute"}))
    parts: Services = app.extensions[EXTENSION]
    parts.storage.prepare()
    client = app.test_client()
    anna, bert = ({"Authorization": f"Bearer ds_{name}"} for name in ("anna", "bert"))
    first = post_files(client, (photo, "dog.jpg"), headers=anna).get_json()["id"]
    path = f"/jobs/{first}/again"
    assert code(client.post(path)) == (401, "unauthorized")
    assert code(client.post(path, headers=bert)) == (403, "forbidden")
    for number in range(3):
        answer = client.post(path, data={"score": f"0.{number + 1}"}, headers=anna)
        assert answer.status_code == 202
        record = parts.queue.get(answer.get_json()["id"])
        assert record is not None
        assert record.request.owner == "anna"
    assert code(client.post(path, data={"score": "0.9"}, headers=anna)) == (429, "rate_limited")
    # the form is for whoever may use it
    pages = [client.get(f"/view/{first}", headers={"Accept": "text/html", **key}).data for key in (anna, {})]
    assert [b'id="again"' in page for page in pages] == [True, False]
    parts.close()
