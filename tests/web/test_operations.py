import re
import subprocess
import sys

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate

from shared.settings import ROOT
from tests.web.conftest import PlayedWorker, Upload, announce, picture
from web.services import Services
from web.video_fields import VideoFields


@pytest.fixture
def everything_on(services: Services) -> None:
    on = services.settings.model_copy(update={"allow_training": True, "allow_streams": True})
    object.__setattr__(services, "settings", on)


@pytest.mark.usefixtures("everything_on")
def test_all_pages_have_the_same_navigation(client: FlaskClient, upload: Upload) -> None:
    job_id = upload((picture(8, 8), "x.jpg")).get_json()["id"]
    headers = {"Accept": "text/html"}
    stream = client.post("/streams", data={"url": "http://93.184.216.34/"}).get_json()["id"]
    for path, current in (
        ("/", "/"),
        ("/train", "/train"),
        ("/streams", "/streams"),
        (f"/streams/{stream}", "/streams"),
        ("/docs", "/docs"),
        ("/status", None),
        (f"/view/{job_id}", None),
        (f"/compare?ids={job_id}", None),
        ("/nothing", None),
    ):
        page = client.get(path, headers=headers).get_data(as_text=True)
        found = re.search(r"<nav .*?</nav>", page, re.DOTALL)
        assert found is not None, path
        links = re.findall(r'<a href="([^"]*)"( aria-current="\w+")?>(\w+)</a>', found[0])
        assert [(href, words) for href, _, words in links] == [
            ("/", "Upload"),
            ("/train", "Train"),
            ("/streams", "Live"),
            ("/docs", "API"),
        ], path
        assert [href for href, marked, _ in links if marked] == [current] * (current is not None), path


def test_ready_needs_a_worker_with_the_default_model(client: FlaskClient, services: Services) -> None:
    def state() -> tuple[int, str]:
        answer = client.get("/readyz")
        return answer.status_code, answer.get_json()["checks"]["worker"]["message"]

    assert state() == (503, "No worker is alive.")
    announce(services, ready=False)
    assert state()[0] == 503
    announce(services, "large")
    status, message = state()
    assert status == 503
    assert "make weights MODEL=small" in message
    announce(services, "small")
    assert state() == (200, "")
    assert client.get("/healthz").status_code == 200


def test_a_worker_that_is_silent_is_gone(client: FlaskClient, services: Services) -> None:
    announce(services, "small")
    services.queue.redis.delete("dropsight:worker:w")
    assert services.fleet.workers() == []
    assert services.queue.redis.smembers("dropsight:workers") == set()


def test_models(client: FlaskClient, services: Services) -> None:
    announce(services, "small")
    body = client.get("/models").get_json()
    assert body["default"] == "small"
    small, large = body["models"]
    assert (small["name"], small["default"], small["installed"], small["install"]) == ("small", True, True, None)
    assert small["classes"] == ["person", "dog"]
    assert (large["installed"], large["install"]) == (False, "make weights MODEL=large")
    assert body["options"]["score"]["default"] == 0.25
    assert body["limits"]["max_upload_mb"] == 1
    assert "image/jpeg" in body["limits"]["types"]


def figures(client: FlaskClient) -> dict[str, float]:
    """The samples of /metrics by name and labels."""
    text = client.get("/metrics").get_data(as_text=True)
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_metrics(client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker) -> None:
    announce(services, "small")
    done = upload((picture(8, 8), "x.jpg")).get_json()["id"]
    played.start(done)
    played.finish(done)
    upload((picture(9, 9), "x.jpg"))
    found = figures(client)
    assert found['dropsight_jobs{state="queued"}'] == 1
    assert found["dropsight_queue_length"] == 1
    assert found["dropsight_oldest_waiting_seconds"] > 0
    assert found["dropsight_workers_ready"] == 1
    assert found['dropsight_phase_seconds_count{phase="inference"}'] == 1
    assert found['dropsight_phase_seconds_sum{phase="inference"}'] == 0.003
    assert found['dropsight_objects{label="dog"}'] == 1


def test_metrics_of_both_lanes(client: FlaskClient, upload: Upload) -> None:
    upload((picture(8, 8), "x.jpg"))
    for size in (9, 10):
        upload((picture(size, size), "x.jpg"), priority="bulk")
    found = figures(client)
    assert found['dropsight_lane_waiting_jobs{lane="interactive"}'] == 1
    assert found['dropsight_lane_waiting_jobs{lane="bulk"}'] == 2
    assert found["dropsight_queue_length"] == 3
    ages = [found[f'dropsight_lane_oldest_waiting_seconds{{lane="{lane}"}}'] for lane in ("interactive", "bulk")]
    assert 0 < ages[1] < ages[0] <= found["dropsight_oldest_waiting_seconds"] + 1


def test_metrics_of_webhooks(client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker) -> None:
    def deliveries() -> tuple[float, float]:
        found = figures(client)
        first, second = (found[f'dropsight_webhook_deliveries{{state="{state}"}}'] for state in ("pending", "due"))
        return first, second

    assert deliveries() == (0, 0)
    one, other = (upload((picture(size, size), "x.jpg")).get_json()["id"] for size in (8, 9))
    for job_id in (one, other, other):
        services.queue.hooks.add(job_id, "https://receiver.example/")
    assert deliveries() == (3, 0)
    played.start(other)
    played.finish(other)
    services.queue.hooks.promote()
    assert deliveries() == (1, 2)


def test_the_openapi_document(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    validate(document)
    groups = [tag["name"] for tag in document["tags"]]
    assert sorted(groups) == ["Jobs", "Models", "Operations", "Results", "Streams", "Trainings"], "each once"
    for path, operations in document["paths"].items():
        for method in operations.keys() & {"get", "post", "delete"}:
            assert operations[method]["tags"][0] in groups, path
    upload = document["paths"]["/upload"]["post"]
    schema = upload["requestBody"]["content"]["multipart/form-data"]["schema"]
    form = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    assert set(form["properties"]) == {
        "file",
        "url",
        "model",
        "score",
        "iou",
        "max_detections",
        "top",
        "explain",
        "explain_class",
        "cancel_after",
        "priority",
        "webhook",
        *VideoFields.model_fields,
    }
    assert {"202", "413", "415", "422", "429", "503"} <= set(upload["responses"])
    for path in ("/jobs", "/jobs/{job_id}", "/models", "/counts", "/healthz", "/readyz", "/metrics", "/view/{job_id}"):
        assert path in document["paths"]


def test_a_fault_of_ours_shows_no_trace(
    client: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(type(services.tally), "counts", broken)
    answer = client.get("/counts")
    assert answer.status_code == 500
    assert answer.get_json() == {"error": {"code": "internal", "message": "Something went wrong on our side."}}


def test_the_wrong_method(client: FlaskClient) -> None:
    answer = client.get("/upload")
    assert answer.status_code == 405
    assert answer.get_json()["error"]["code"] == "method_not_allowed"
    assert "POST" in answer.headers["Allow"]


def test_the_web_tier_is_light() -> None:
    code = (
        "import sys, web.app; "
        "heavy = {'cv2', 'openvino', 'keras', 'tensorflow', 'numpy', 'PIL', 'worker', 'boto3'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
