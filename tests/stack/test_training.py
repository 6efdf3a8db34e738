"""Training as a job, through the whole service: web, queue, trainer, catalogue, and a worker that was there before."""

import io
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from shared.queue import Fleet, connect, keys
from tests.conftest import Live
from tests.tiny_training import SIDE, picture, squares

pytestmark = pytest.mark.stack

Training = dict[str, Any]


@pytest.fixture
def service(training_service: Live) -> Live:
    return training_service


def train(service: Live, data: bytes | None, **fields: object) -> requests.Response:
    wanted = {"kind": "detection", "start": "tiny", "size": SIDE, "batch_size": 4, "test": 0.25} | fields
    files = {} if data is None else {"data": ("squares.zip", data)}
    return requests.post(f"{service.url}/trainings", data=wanted, files=files, timeout=30)


def get(service: Live, training_id: str) -> Training:
    found: Training = requests.get(f"{service.url}/trainings/{training_id}", timeout=10).json()
    return found


def wait(service: Live, training_id: str, until: Callable[[Training], bool], seconds: float = 150) -> Training:
    end = time.monotonic() + seconds
    while not until(training := get(service, training_id)):
        assert time.monotonic() < end, (training, _log(service))
        time.sleep(0.1)
    return training


def ended(service: Live, training_id: str) -> Training:
    return wait(service, training_id, lambda training: training["state"] not in ("queued", "running"))


def _log(service: Live) -> str:
    return (service.data_dir / "logs" / "trainer-0.log").read_text()[-3000:]


def trainer(service: Live) -> int:
    """The process id of the one trainer, once it is there."""
    redis = connect(f"unix://{service.data_dir}/run/redis.sock", patient=False)
    end = time.monotonic() + 30
    while not (found := [worker.pid for worker in Fleet(redis, keys.TRAINERS).workers() if worker.ready]):
        assert time.monotonic() < end, _log(service)
        time.sleep(0.1)
    redis.close()
    return found[0]


def learnt(epochs: int) -> Callable[[Training], bool]:
    """Whether a training has so many epochs behind it; fails if it has ended before."""

    def enough(training: Training) -> bool:
        assert training["state"] in ("queued", "running"), training["error"]
        return training["progress"] is not None and len(training["progress"]["history"]) >= epochs

    return enough


def _stored(service: Live) -> set[Path]:
    """The files of trainings, of what they made and of what they learnt from."""
    storage = service.data_dir / "storage"
    return {path for name in ("trainings", "models", "datasets") for path in (storage / name).rglob("*.*")}


def test_a_killed_trainer_goes_on_and_its_model_answers_photos(service: Live) -> None:
    others = _stored(service)  # the service is shared with the tests of the pages
    answer = train(service, squares(24, broken=True), name="squares", epochs=60)
    assert answer.status_code == 202, answer.text
    training_id = answer.json()["id"]
    before = wait(service, training_id, learnt(4))
    assert before["progress"]["checked"]
    assert before["progress"]["seconds_left"] > 0
    assert train(service, None, name="squares", dataset=before["data"]["name"]).json()["error"]["code"] == "conflict"
    os.kill(trainer(service), signal.SIGKILL)

    after = ended(service, training_id)
    assert after["state"] == "finished", (after, _log(service))
    assert after["attempts"] == 1
    history = after["result"]["run"]["history"]
    assert [epoch["epoch"] for epoch in history] == list(range(1, 61))
    assert history[0] == before["progress"]["history"][0], "the first epoch was not learnt a second time"
    assert "goes on after epoch" in _log(service)
    assert after["result"]["run"]["held_out"]["AP50"] >= 0
    assert after["result"]["images"]["test"] == 6
    assert {file["name"] for file in after["files"]} == {
        *(f"squares{ending}" for ending in (".cfg", ".weights", ".names", ".toml")),
        "training.json",
    }
    report = requests.get(f"{service.url}{after['links']['report']}", timeout=10).json()
    assert report["problem_counts"] == {"box_empty": 1, "box_unreadable": 1}
    files = {file["name"]: file for file in after["files"]}
    weights = requests.get(f"{service.url}{files['squares.weights']['url']}", timeout=10)
    assert len(weights.content) == files["squares.weights"]["bytes"]
    assert "filename=squares.weights" in weights.headers["Content-Disposition"]

    models = {model["name"]: model for model in requests.get(f"{service.url}/models", timeout=10).json()["models"]}
    assert models["squares"]["installed"]
    assert models["squares"]["classes"] == ["blue", "red"]
    photo = requests.post(
        f"{service.url}/upload?wait=30",
        files={"file": ("1.png", picture(101)[0])},
        data={"model": "squares", "score": "0.05"},
        timeout=40,
    )
    assert photo.status_code == 200, photo.text
    assert photo.json()["state"] == "finished", photo.text
    assert photo.json()["result"]["model"]["name"] == "squares"

    assert requests.delete(f"{service.url}/trainings/{training_id}?model=true&data=true", timeout=10).status_code == 204
    assert get(service, training_id)["error"]["code"] == "not_found"
    assert _stored(service) <= others
    again = requests.post(
        f"{service.url}/upload", files={"file": ("1.png", picture(102)[0])}, data={"model": "squares"}, timeout=10
    )
    assert again.json()["error"]["code"] == "unknown_model"


def test_a_stopped_trainer_charges_nothing_and_cancel_keeps_what_was_learnt(service: Live) -> None:
    training_id = train(service, squares(24), name="long", epochs=100_000).json()["id"]
    wait(service, training_id, learnt(1))
    waiting = train(service, squares(), name="never").json()
    assert waiting["position"] == 1
    assert requests.post(f"{service.url}/trainings/{waiting['id']}/cancel", timeout=10).status_code == 202
    os.kill(trainer(service), signal.SIGTERM)
    resumed = wait(service, training_id, lambda training: (training["progress"] or {}).get("resumed", 0) > 0)
    assert resumed["attempts"] == 0
    wait(service, training_id, learnt(resumed["progress"]["resumed"] + 2))
    begin = time.monotonic()
    assert requests.post(f"{service.url}/trainings/{training_id}/cancel", timeout=10).status_code == 202
    stopped = ended(service, training_id)
    assert time.monotonic() - begin < 20
    assert stopped["state"] == "canceled"
    assert {"last.npz", "training.json"} <= {file["name"] for file in stopped["files"]}
    assert not stopped["in_use"]
    assert get(service, waiting["id"])["state"] == "canceled"
    assert requests.post(f"{service.url}/trainings/{training_id}/cancel", timeout=10).status_code == 202, "once more"
    listed = requests.get(f"{service.url}/trainings", timeout=10).json()
    assert {item["id"]: item["state"] for item in listed["trainings"]}[training_id] == "canceled"
    assert listed["trainers"] == 1


def outside() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../escaped.txt", "x")
    return file.getvalue()


def bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.png", bytes(64 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [(outside(), "not allowed"), (bomb(), "larger"), (b"PK\x03\x04 nothing", "broken"), (squares(0), "format")],
    ids=["path", "bomb", "broken", "empty"],
)
def test_bad_data_are_refused_by_the_trainer(service: Live, data: bytes, words: str) -> None:
    failed = ended(service, train(service, data, name="bad").json()["id"])
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "bad_dataset"
    assert words in failed["error"]["message"]
    assert failed["attempts"] == 0
    assert not list(service.data_dir.rglob("escaped.txt"))
    assert list((service.data_dir / "training").iterdir()) == [], "nothing is left of the attempt"


def test_a_folder_of_the_operator_is_only_checked(service: Live) -> None:
    folder = service.data_dir / "storage" / "datasets" / "mine"
    folder.mkdir(parents=True)
    for number in range(4):
        encoded, line = picture(number)
        (folder / f"{number}.png").write_bytes(encoded)
        (folder / f"{number}.txt").write_text(line)
    listed = requests.get(f"{service.url}/datasets", timeout=10).json()["datasets"]
    assert "mine" in {data["name"] for data in listed}
    checked = ended(service, train(service, None, name="mine", dataset="mine", check="true").json()["id"])
    assert checked["state"] == "finished"
    assert checked["result"]["run"] is None
    assert not checked["in_use"]
    report = requests.get(f"{service.url}{checked['links']['report']}", timeout=10).json()
    assert (report["images"], report["format"]) == (4, "YOLO text files")


def test_news_tell_the_end(service: Live) -> None:
    training_id = train(service, squares(8), name="told", check="true").json()["id"]
    with requests.get(f"{service.url}/trainings/{training_id}/events", stream=True, timeout=60) as stream:
        lines = list(stream.iter_lines(decode_unicode=True))
    states = [json.loads(line.removeprefix("data: "))["state"] for line in lines if line.startswith('data: {"id"')]
    assert states[-1] == "finished"
    assert lines[-3:-1] == ["event: end", "data: {}"] or "event: end" in lines
