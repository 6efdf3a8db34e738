"""`/trainings` and `/train` up to the queue. The trainer is played here; the real one is in tests/stack."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from shared.entries import DarknetEntry, WeightFile
from shared.queue import WorkerInfo
from shared.runs import Epoch, RunRequest, TrainingRun
from shared.settings import Settings
from shared.trained import TrainedModel
from shared.trainings import (
    REPORT_DOCUMENT,
    RESULT_DOCUMENT,
    TrainingRequest,
    TrainingResult,
    run_prefix,
    training_key,
)
from tests.web.conftest import announce
from web.services import Services

HTML = {"Accept": "text/html"}
CLASSIFIER = 'family = "classifier"\narchitecture = "mobilenet_v2"'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"allow_training": True, "max_dataset_mb": 1})


def packed(text: str = "x") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", text)
    return file.getvalue()


Train = Callable[..., TestResponse]


@pytest.fixture
def train(client: FlaskClient) -> Train:
    def send(data: bytes | None = None, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        parts: dict[str, Any] = {"kind": "detection", "name": "mine", **fields}
        if data is not None:
            parts["data"] = FileStorage(io.BytesIO(data), "my cells.zip")
        boundary, body = encode_multipart(parts)
        kind = f"multipart/form-data; boundary={boundary}"
        return client.post("/trainings", data=body, content_type=kind, headers=headers)

    return send


def stored(services: Services) -> list[str]:
    return [stat.key for stat in services.storage.list("datasets/")]


def model_of(training: str, name: str = "mine") -> TrainedModel:
    files = {part: WeightFile(name=f"{name}.{part}", size=3) for part in ("cfg", "weights", "names")}
    entry = DarknetEntry(name=name, title=name, config=files["cfg"], weights=files["weights"], classes=files["names"])
    return TrainedModel(training_id=training, created_at=datetime.now(UTC), labels=("cell",), entry=entry)


def publish(services: Services, tmp_path: Any, training: str, name: str = "mine") -> None:
    for part in ("cfg", "weights", "names"):
        (tmp_path / f"{name}.{part}").write_bytes(b"abc")
    services.trained.publish(model_of(training, name), tmp_path)


def finish(services: Services, training_id: str) -> None:
    """As if the trainer had done it, and Redis had forgotten it since."""
    record = services.trainings.get(training_id)
    assert record is not None
    now = datetime.now(UTC)
    epoch = Epoch(epoch=1, epochs=1, losses={"loss": 1.0}, metrics={"AP50": 0.9}, learning_rate=0.1, seconds=1)
    run = TrainingRun(
        kind="detection", name="mine", labels=("cell",), files={}, history=(epoch,), best=epoch, ending="completed"
    )
    result = TrainingResult(request=record.request, run=run, started_at=now, finished_at=now)
    services.storage.put(training_key(training_id, REPORT_DOCUMENT), b'{"images": 3}')
    services.storage.put(f"{run_prefix(training_id)}mine.cfg", b"[net]")
    services.storage.put(training_key(training_id, RESULT_DOCUMENT), result.model_dump_json().encode())
    services.trainings.forget(training_id)


def test_a_training_is_queued_with_its_data(train: Train, services: Services, client: FlaskClient) -> None:
    answer = train(packed(), epochs="12", learning_rate="", seed="3")
    assert answer.status_code == 202, answer.text
    body = answer.json
    assert body is not None
    assert (body["state"], body["position"], body["progress"]) == ("queued", 1, None)
    assert body["run"] == RunRequest(kind="detection", name="mine", epochs=12, seed=3).model_dump(mode="json")
    assert body["data"]["name"] == sha256(packed()).hexdigest()
    assert services.storage.get(body["data"]["key"]) == packed()
    assert answer.headers["Location"] == f"/trainings/{body['id']}"
    assert client.get(f"/trainings/{body['id']}").json == body
    record = services.trainings.get(body["id"])
    assert record is not None
    assert TrainingRequest.model_validate_json(record.request.model_dump_json()) == record.request


@pytest.mark.parametrize(
    ("kind", "start", "fits"),
    [
        ("detection", "small", True),
        ("masks", "small", True),
        ("classification", "small", False),
        ("detection", "nothing", False),
        ("detection", "outlines", False),
        ("masks", "outlines", True),
        ("classification", "net", True),
        ("detection", "net", False),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_at_once(
    train: Train, services: Services, settings: Settings, kind: str, start: str, *, fits: bool
) -> None:
    with settings.catalog.open("a") as catalog:
        for name, family in (("outlines", 'family = "mask_rcnn"'), ("net", CLASSIFIER)):
            files = "".join(f'{part} = {{ name = "{name}.{part}" }}\n' for part in ("weights", "classes"))
            catalog.write(f'[models.{name}]\n{family}\ntitle = "{name}"\n{files}')
    answer = train(packed(), kind=kind, start=start)
    assert answer.status_code == (202 if fits else 422), answer.text
    if not fits:
        assert answer.get_json()["error"]["code"] == "invalid_option"
        assert stored(services) == []
    elif kind == "classification":
        assert train(packed(), kind=kind, start=start, name="other", backbone="resnet50").status_code == 422


def test_the_same_bytes_are_kept_once(train: Train, services: Services, client: FlaskClient) -> None:
    first = train(packed(), name="one").json
    second = train(packed(), name="two").json
    assert first is not None
    assert second is not None
    assert first["data"] == second["data"]
    third = train(name="three", dataset=first["data"]["name"])
    assert third.status_code == 202
    assert len(stored(services)) == 2, "the zip file and its document"
    listed = client.get("/datasets").json
    assert listed is not None
    assert [data["filename"] for data in listed["datasets"]] == ["my cells.zip"]
    assert client.delete(f"/datasets/{first['data']['name']}").status_code == 409
    assert client.delete(f"/trainings/{first['id']}?data=true").status_code == 204
    assert len(stored(services)) == 2, "two others have it"
    assert third.json is not None
    client.delete(f"/trainings/{third.json['id']}")
    client.delete(f"/trainings/{second['id']}?data=true")
    assert stored(services) == []
    last = train(packed()).json
    assert last is not None
    client.delete(f"/trainings/{last['id']}")
    assert client.delete(f"/datasets/{last['data']['name']}").status_code == 204
    assert stored(services) == []
    assert client.delete("/datasets/mine").status_code == 404


@pytest.mark.parametrize(
    ("data", "fields", "code"),
    [
        (b"GIF89a no zip", {}, "unsupported_type"),
        (packed("y" * 2_000_000), {}, "too_large"),
        (None, {}, "no_file"),
        (None, {"dataset": "0" * 64}, "not_found"),
        (None, {"dataset": "../inputs"}, "invalid_option"),
        (None, {"dataset": ".."}, "not_found"),
        (packed(), {"name": "small"}, "conflict"),
        (packed(), {"name": "../x"}, "invalid_option"),
        (packed(), {"kind": "poems"}, "invalid_option"),
        (packed(), {"epochs": "0"}, "invalid_option"),
        (packed(), {"colour": "red"}, "invalid_option"),
    ],
)
def test_what_is_refused_leaves_nothing(
    train: Train, services: Services, data: bytes | None, fields: dict[str, str], code: str
) -> None:
    answer = train(data, **fields)
    assert answer.json is not None
    assert answer.json["error"]["code"] == code, answer.json
    assert stored(services) == []
    assert services.trainings.ids() == []


def test_a_name_is_taken_by_who_waits_for_it(train: Train, client: FlaskClient) -> None:
    first = train(packed()).json
    assert first is not None
    assert train(packed("z")).status_code == 409
    assert train(packed("z"), check="true").status_code == 202, "looking at data takes no name"
    assert client.post(f"/trainings/{first['id']}/cancel").json["state"] == "canceled"  # type: ignore[index]
    assert train(packed()).status_code == 202


def test_a_finished_one_is_found_without_redis(
    train: Train, services: Services, client: FlaskClient, tmp_path: Any
) -> None:
    body = train(packed()).json
    assert body is not None
    finish(services, body["id"])
    publish(services, tmp_path, body["id"])
    view = client.get(f"/trainings/{body['id']}").json
    assert view is not None
    assert (view["state"], view["in_use"], view["result"]["run"]["best"]["epoch"]) == ("finished", True, 1)
    assert client.get(view["links"]["report"]).json == {"images": 3}
    (file,) = view["files"]
    answer = client.get(file["url"])
    assert (answer.data, answer.mimetype) == (b"[net]", "application/octet-stream")
    assert answer.headers["Content-Disposition"] == "attachment; filename=mine.cfg"
    assert client.get(f"/trainings/{body['id']}/files/..%2fresult.json").status_code == 404
    assert client.get(f"/trainings/{body['id']}/files/.x").status_code == 404
    listed = client.get("/trainings").json
    assert listed is not None
    assert [item["id"] for item in listed["trainings"]] == [body["id"]]
    assert client.post(f"/trainings/{body['id']}/cancel").status_code == 404
    assert client.delete(f"/trainings/{body['id']}").status_code == 204
    assert client.get(f"/trainings/{body['id']}").status_code == 404
    assert "mine" in services.catalog.trained, "the model stays unless it is asked for"


def test_models_come_and_go_without_a_restart(services: Services, client: FlaskClient, tmp_path: Any) -> None:
    announce(services, "small")
    assert "mine" not in services.catalog.models
    publish(services, tmp_path, "0" * 32)
    publish(services, tmp_path, "1" * 32, name="large")
    models = {model["name"]: model for model in client.get("/models").json["models"]}  # type: ignore[index]
    assert (models["mine"]["installed"], models["mine"]["classes"]) == (True, ["cell"])
    assert models["large"]["title"] == "Large", "the catalogue's own goes first"
    services.trained.delete("mine")
    assert "mine" not in services.catalog.models
    publish(services, tmp_path, "0" * 32)
    services.queue.redis.flushall()
    assert "mine" in services.catalog.models, "storage has it, whatever becomes of Redis"


def test_training_is_off_unless_it_is_allowed(services: Services, client: FlaskClient, settings: Settings) -> None:
    assert b'href="/train"' in client.get("/", headers=HTML).data
    page = client.get("/train", headers=HTML)
    assert page.status_code == 200
    assert b"No trainer is alive" in page.data
    info = WorkerInfo(name="t", host="h", pid=1, state="", installed=[], ready=True, engine="", started_at=0)
    services.trainers.announce(info, ttl=60)
    assert b"No trainer is alive" not in client.get("/train", headers=HTML).data
    assert client.get("/models").json["workers"] == 0, "a trainer answers no photos"  # type: ignore[index]
    object.__setattr__(services, "settings", settings.model_copy(update={"allow_training": False}))
    for path in ("/train", "/trainings", "/datasets", f"/train/{'0' * 32}"):
        assert client.get(path).status_code == 403, path
    assert client.post("/trainings").status_code == 403
    assert b'href="/train"' not in client.get("/", headers=HTML).data


def test_with_keys_only_operators_train(settings: Settings) -> None:
    from web.app import create_app

    keys = {name: sha256(name.encode()).hexdigest() for name in ("anna", "admin")}
    entries = ",".join(f"{name}:{digest}" for name, digest in keys.items())
    app = create_app(settings.model_copy(update={"api_keys": entries}))
    app.extensions["dropsight"].storage.prepare()
    client = app.test_client()
    assert client.get("/trainings").status_code == 401
    assert client.get("/train", headers=HTML).status_code == 303
    assert client.get("/trainings", headers={"X-Api-Key": "anna"}).status_code == 403
    assert client.get("/trainings", headers={"X-Api-Key": "admin"}).status_code == 200
    assert b'href="/train"' not in client.get("/", headers=HTML | {"X-Api-Key": "anna"}).data
    app.extensions["dropsight"].close()
