"""`model=a,b` and `model=auto`: which models look at an upload, and what each job has of its own."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.catalog import Catalog
from shared.entries import ModelEntry, WeightFile
from shared.errors import BadInputError, PublicError
from shared.results import Task
from shared.storage import Storage
from tests.web.conftest import PlayedWorker, Upload, announce, picture
from web.choosing import automatic
from web.incoming import IncomingFile
from web.services import Services


def stored(services: Services) -> list[str]:
    return [item.key for item in services.storage.list("inputs/")]


def test_each_model_is_a_job_with_an_input_of_its_own(
    client: FlaskClient, upload: Upload, services: Services, played: PlayedWorker, photo: bytes
) -> None:
    answer = upload((photo, "dog.jpg"), model="large, small", score="0.5")
    assert answer.status_code == 202
    jobs = answer.get_json()["jobs"]
    assert [job["model"] for job in jobs] == ["large", "small"]
    assert [job["position"] for job in jobs] == [1, 2]
    requests = [played.request(job["id"]) for job in jobs]
    assert [request.model for request in requests] == ["large", "small"]
    assert len({request.input.key for request in requests}) == 2
    assert len({request.cache_key for request in requests}) == 2
    for job, request in zip(jobs, requests, strict=True):
        assert request.input.key == f"inputs/{job['id']}.jpg"
        assert (request.input.filename, request.options.score) == ("dog.jpg", 0.5)
        assert services.storage.get(request.input.key) == photo
    assert client.delete(f"/jobs/{jobs[0]['id']}").status_code == 204
    assert stored(services) == [requests[1].input.key], "the other one's is still there"


def test_file_by_file_and_for_each_all_models(upload: Upload, played: PlayedWorker) -> None:
    files = [(picture(8, 8), "a.jpg"), (picture(9, 9), "b.jpg")]
    jobs = upload(*files, model="small,large").get_json()["jobs"]
    seen = [(played.request(job["id"]).input.filename, job["model"]) for job in jobs]
    assert seen == [("a.jpg", "small"), ("a.jpg", "large"), ("b.jpg", "small"), ("b.jpg", "large")]


@pytest.mark.parametrize("name", ["small,small", " small ", "small,", "", "auto", "auto,small"])
def test_a_model_that_is_named_twice_looks_once(upload: Upload, photo: bytes, name: str) -> None:
    assert upload((photo, "dog.jpg"), model=name).get_json()["model"] == "small"


def test_only_the_models_that_have_not_seen_it_look(
    upload: Upload, services: Services, played: PlayedWorker, photo: bytes
) -> None:
    first = upload((photo, "dog.jpg"), model="small").get_json()["id"]
    played.start(first)
    played.finish(first)
    jobs = upload((photo, "dog.jpg"), model="small,large").get_json()["jobs"]
    assert [(job["cached"], job["state"], job["position"]) for job in jobs] == [
        (True, "finished", None),
        (False, "queued", 1),
    ]
    assert sorted(stored(services)) == sorted(f"inputs/{job['id']}.jpg" for job in jobs)
    played.start(jobs[1]["id"])
    played.finish(jobs[1]["id"])
    again = upload((photo, "dog.jpg"), model="small,large")
    assert again.status_code == 200
    assert [job["result"]["model"]["name"] for job in again.get_json()["jobs"]] == ["small", "large"]
    assert len(stored(services)) == 2


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("small,huge", "unknown_model"),
        ("small,large", "model_not_installed"),
        ("a,b,c,d,e", "invalid_option"),
        ("x" * 501, "invalid_option"),
    ],
)
def test_one_that_cannot_look_refuses_all(
    upload: Upload, services: Services, photo: bytes, name: str, code: str
) -> None:
    announce(services, "small")
    answer = upload((photo, "dog.jpg"), model=name)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, code)
    assert stored(services) == []
    assert services.queue.waiting() == 0


def test_jobs_that_do_not_all_fit_leave_nothing(
    upload: Upload, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(_: object) -> None:
        pytest.fail("a file was copied in vain")

    upload((picture(8, 8), "x.jpg"))
    upload((picture(8, 9), "x.jpg"))
    monkeypatch.setattr(IncomingFile, "copy", copied)
    files = [(picture(10, 8 + number), "x.jpg") for number in range(3)]
    assert upload(*files[:2], model="small,large").status_code == 429  # six, and five may wait
    never = upload(*files, model="small,large")  # not into an empty queue either
    assert (never.status_code, never.get_json()["error"]["code"]) == (413, "too_large")
    assert len(stored(services)) == 2


def test_storage_that_breaks_off_while_it_copies_leaves_nothing(
    upload: Upload, services: Services, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object) -> None:
        raise PublicError("storage_full", "Storage is full.")

    monkeypatch.setattr(type(services.storage), "open", away)
    assert upload((photo, "dog.jpg"), model="small,large").status_code == 507
    assert stored(services) == []
    assert services.queue.waiting() == 0


def test_without_scripts_the_answers_are_shown_side_by_side(upload: Upload, photo: bytes) -> None:
    answer = upload((photo, "dog.jpg"), model="small,large", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/compare?ids=")


class Played(ModelEntry):
    """An entry of any task."""

    kind: Task = "detection"

    @property
    def task(self) -> Task:
        return self.kind


def catalog(default: str, **tasks: Task) -> Catalog:
    file = WeightFile(name="x")
    models: dict[str, Any] = {
        name: Played(name=name, family="played", title=name, weights=file, classes=file, kind=task)
        for name, task in tasks.items()
    }
    return Catalog.model_construct(default=default, models=models)


MODELS = catalog(
    "yolo", tiny="detection", yolo="detection", rcnn="segmentation", nasnet="classification", resnet="classification"
)


@pytest.mark.parametrize(
    ("installed", "options", "picked"),
    [
        (None, [], "yolo"),
        ({"tiny", "yolo"}, [], "yolo"),
        ({"tiny", "rcnn"}, [], "tiny"),
        ({"rcnn", "nasnet"}, [], "rcnn"),
        ({"rcnn", "nasnet"}, ["score"], "rcnn"),
        ({"yolo", "resnet", "nasnet"}, ["explain"], "nasnet"),
        ({"yolo", "resnet"}, ["top", "explain"], "resnet"),
        ({"yolo", "resnet"}, ["top", "score"], "yolo"),
        (None, ["top"], "nasnet"),
    ],
)
def test_auto_picks_by_what_is_asked_and_what_is_there(
    installed: set[str] | None, options: list[str], picked: str
) -> None:
    assert automatic(MODELS, installed, options).name == picked


def test_auto_prefers_a_default_of_the_kind() -> None:
    models = catalog("resnet", nasnet="classification", resnet="classification", yolo="detection")
    assert automatic(models, None, ["top"]).name == "resnet"
    assert automatic(models, None, []).name == "yolo"


@pytest.mark.parametrize(("options", "named"), [(["top"], "classifier"), ([], "finds objects")])
def test_auto_says_what_is_missing(options: list[str], named: str) -> None:
    with pytest.raises(BadInputError, match=named) as caught:
        automatic(MODELS, set(), options)
    assert caught.value.code == "model_not_installed"


def test_the_job_has_the_name_of_the_model_that_was_picked(
    upload: Upload, services: Services, played: PlayedWorker, photo: bytes
) -> None:
    announce(services, "large")
    job = upload((photo, "dog.jpg"), model="auto").get_json()
    assert job["model"] == "large"
    assert played.request(job["id"]).model == "large"


def test_auto_counts_only_options_that_were_sent(upload: Upload, photo: bytes) -> None:
    answer = upload((photo, "dog.jpg"), model="auto", top="3")  # its default, but asked for: a classifier is wanted
    assert answer.get_json()["error"]["code"] == "model_not_installed"


def test_the_models_say_how_many_may_look(client: FlaskClient) -> None:
    limits = client.get("/models").get_json()["limits"]
    assert (limits["max_models"], limits["webhooks"]) == (4, False)


def test_a_copy_is_streamed(upload: Upload, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(*_args: object) -> None:
        raise AssertionError("the whole file was read into memory")

    monkeypatch.setattr(Storage, "get", whole)
    assert upload((picture(8, 8), "a.jpg"), model="small,large").status_code == 202
    assert len(stored(services)) == 2
