import json
from datetime import UTC, datetime

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from shared.jobs import ErrorInfo, JobOptions, JobState, new_job_id
from shared.queue import PartOrder, WorkerInfo, keys
from shared.queue.parts import part_id
from shared.runs import RunRequest
from shared.settings import Settings
from shared.streams import StreamOptions, StreamRequest
from shared.trainings import StoredDataset, TrainingProgress, TrainingRequest
from tests.web.conftest import PlayedWorker, Upload, announce, picture, post_files
from tests.web.test_videos import MP4
from web.app import create_app
from web.keys import hash_of
from web.services import EXTENSION, Services

HTML = {"Accept": "text/html"}


def failed(services: Services, upload: Upload, played: PlayedWorker, code: str = "crashed", **fields: str) -> str:
    """A job that has failed as RQ leaves it."""
    job_id: str = upload((picture(8, 8), "<b>bad.jpg"), **fields).get_json()["id"]
    played.start(job_id)
    job = played.job(job_id)
    lane = services.queue.lanes.named(job.origin)
    job.ended_at = datetime.now(UTC)
    job.set_status(JobStatus.FAILED)
    services.queue.redis.lrem(lane.key, 1, job_id)
    lane.failed_job_registry.add(job, ttl=600)
    if code != "crashed":
        services.queue.redis.hset(job.key, keys.ERROR, ErrorInfo(code=code, message="So it is.").model_dump_json())
    services.queue.redis.hset(job.key, keys.ATTEMPTS, 2)
    return job_id


def test_all_of_it(client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker) -> None:
    announce(services, "small")
    bad = failed(services, upload, played, "bad_image")
    running = upload((picture(9, 9), "run.jpg")).get_json()["id"]
    played.start(running)
    lane = services.queue.lanes.interactive
    services.queue.redis.zadd(lane.started_job_registry.key, {f"{running}:x": 2e9})
    waiting = upload((picture(10, 10), "wait.jpg"), priority="bulk").get_json()["id"]
    body = client.get("/status.json").get_json()
    assert [(each["priority"], each["waiting"]) for each in body["queues"]] == [("interactive", 0), ("bulk", 1)]
    assert body["queues"][1]["oldest_seconds"] > 0
    assert body["jobs"] == {"queued": 1, "running": 1, "finished": 0, "failed": 1, "canceled": 0}
    (worker,) = body["workers"]
    assert (worker["name"], worker["state"], worker["job"]["id"]) == ("w", "busy", running)
    assert body["failures"] == {"bad_image": 1}
    assert [job["id"] for key in ("failed", "running", "waiting") for job in body[key]] == [bad, running, waiting]
    page = client.get("/status", headers=HTML).get_data(as_text=True)
    assert "&lt;b&gt;bad.jpg" in page
    assert "<b>bad.jpg" not in page
    assert f"/status/jobs/{bad}/retry" not in page, "the file would fail again"
    assert f"/status/jobs/{waiting}/cancel" in page
    assert " style=" not in page


def test_what_fails_again_and_again_is_shown_once(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker
) -> None:
    other = failed(services, upload, played, "timeout")
    alike = {failed(services, upload, played) for _ in range(25)}
    body = client.get("/status.json").get_json()
    times = {job["id"]: job["times"] for job in body["failed"]}
    assert times.pop(other) == 1
    assert list(times.values()) == [25]
    assert times.keys() < alike
    assert body["failures"] == {"crashed": 25, "timeout": 1}
    assert client.get("/status", headers=HTML).get_data(as_text=True).count("25 times") == 1


def test_a_video_in_parts_is_shown_with_who_does_one(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker
) -> None:
    announce(services, "small")
    announce(services, "small", name="planner")
    video = upload((MP4, "street.mp4")).get_json()["id"]
    queue = services.queue
    queue.redis.lrem(queue.lanes.interactive.key, 1, video)
    for worker, lane, job_id in (
        ("planner", queue.lanes.interactive, video),
        ("w", queue.lanes.parts, part_id(video, 0)),
    ):
        if job_id != video:
            queue.parts.order(played.request(video), [PartOrder(0, frames=1, timeout=60)], {})
        job = played.job(job_id)
        with queue.redis.pipeline() as pipe:
            job.prepare_for_execution(worker, pipe)
            pipe.zadd(lane.started_job_registry.key, {f"{job_id}:x": 2e9})
            if job_id == video:
                queue.parts.park(job, lane, pipe)
            pipe.execute()
    body = client.get("/status.json").get_json()
    shown = {worker["name"]: worker["job"] and worker["job"]["id"] for worker in body["workers"]}
    assert shown == {"planner": None, "w": video}
    assert [(job["id"], job["worker"]) for job in body["running"]] == [(video, "w")]


def test_an_empty_service(client: FlaskClient, services: Services) -> None:
    assert "No worker is alive" in client.get("/status").get_data(as_text=True)
    announce(services, ready=False)
    assert client.get("/status.json").get_json()["workers"][0]["state"] == "loading"


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_retry(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker, priority: str, settings: Settings
) -> None:
    job_id = failed(services, upload, played, "internal", priority=priority)
    path = f"/status/jobs/{job_id}/retry"
    answer = client.post(path)
    assert (answer.status_code, answer.get_json()["state"]) == (202, "queued")
    record = services.queue.get(job_id)
    assert record is not None
    assert (record.state, record.position, record.attempts, record.error) == (JobState.QUEUED, 1, 0, None)
    assert services.queue.redis.ttl(Job.key_for(job_id)) == -1
    lane = services.queue.lanes.named(played.job(job_id).origin)
    assert lane.get_job_ids() == [job_id]
    assert services.queue.redis.zcard(lane.failed_job_registry.key) == 0
    assert played.job(job_id).retries_left == settings.job_retries
    assert client.post(path).status_code == 409
    assert lane.get_job_ids() == [job_id]
    taken = services.queue.lanes.take(0)
    assert taken is not None
    assert taken.job_id == job_id


def test_what_cannot_be_tried_again(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker
) -> None:
    waiting = upload((picture(9, 9), "x.jpg")).get_json()["id"]
    assert client.post(f"/status/jobs/{waiting}/retry").status_code == 409
    assert client.post(f"/status/jobs/{'0' * 32}/retry").status_code == 404
    assert client.post("/status/jobs/x/retry").status_code == 404
    job_id = failed(services, upload, played)
    services.storage.delete(played.request(job_id).input.key)
    answer = client.post(f"/status/jobs/{job_id}/retry")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (410, "input_gone")
    job = Job.fetch(job_id, connection=services.queue.redis, serializer=JSONSerializer)
    assert job.get_status() is JobStatus.FAILED


def test_a_deadline_that_has_passed(
    client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker
) -> None:
    job_id = failed(services, upload, played, cancel_after="60")
    job = played.job(job_id)
    request = job.kwargs["request"] | {"deadline": "2026-01-01T00:00:00Z"}
    job.kwargs = {"request": request}
    job.save()
    assert client.post(f"/status/jobs/{job_id}/retry").status_code == 409


def test_the_buttons_of_the_page(client: FlaskClient, services: Services, upload: Upload, played: PlayedWorker) -> None:
    job_id = upload((picture(9, 9), "x.jpg")).get_json()["id"]
    answer = client.post(f"/status/jobs/{job_id}/cancel", headers=HTML)
    assert answer.status_code == 303
    assert "The job is canceled" in client.get(answer.headers["Location"], headers=HTML).get_data(as_text=True)
    assert client.get(f"/jobs/{job_id}").get_json()["state"] == "canceled"
    played_id = failed(services, upload, played)
    assert f"/status/jobs/{played_id}/retry" in client.get("/status", headers=HTML).get_data(as_text=True)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert client.post(f"/status/jobs/{played_id}/retry", headers=headers).status_code == 403
    assert client.get(f"/status/jobs/{played_id}/retry").status_code == 405


def test_trainers_and_streamers(client: FlaskClient, services: Services) -> None:
    assert "streamer" not in client.get("/status", headers=HTML).get_data(as_text=True)
    info = WorkerInfo(name="t", host="h", pid=7, state="busy", installed=[], ready=True, engine="", started_at=0)
    services.trainers.announce(info, ttl=60)
    now = datetime.now(UTC)
    data = StoredDataset(name="d", key="datasets/d/", filename="d")
    ids = [new_job_id() for _ in range(3)]
    for training_id, name in zip(ids, ("broken", "going", "next"), strict=True):
        run = RunRequest(kind="detection", name=name)
        services.trainings.submit(TrainingRequest(id=training_id, run=run, data=data, created_at=now))
    stream = StreamRequest(
        id=new_job_id(),
        url="rtsp://10.9.8.7/a",
        model="m",
        options=JobOptions(),
        stream=StreamOptions(),
        created_at=now,
    )
    services.streams.submit(stream, "rtsp://u:secret@10.9.8.7/a")
    redis, lane = services.queue.redis, services.trainings.lanes.lane
    for training_id, status in zip(ids, (JobStatus.FAILED, JobStatus.STARTED), strict=False):
        redis.lrem(lane.key, 1, training_id)
        Job.fetch(training_id, connection=redis, serializer=JSONSerializer).set_status(status)
    error = ErrorInfo(code="bad_dataset", message="So it is.")
    redis.hset(Job.key_for(ids[0]), keys.ERROR, error.model_dump_json())
    services.trainings.report_progress(ids[1], TrainingProgress(stage="check"))

    body = client.get("/status.json").get_json()
    trainings, streams = body["trainings"], body["streams"]
    assert [(worker["name"], worker["state"]) for worker in trainings["workers"]] == [("t", "busy")]
    assert (trainings["waiting"], streams["waiting"], streams["workers"]) == (1, 1, [])
    assert [(task["name"], task["doing"]) for task in trainings["running"]] == [("going", "check")]
    assert [(task["name"], task["error"]["code"]) for task in trainings["failed"]] == [("broken", "bad_dataset")]
    page = client.get("/status", headers=HTML).get_data(as_text=True)
    for text in ("trainer on h", "No streamer is alive", "So it is.", f'href="/train/{ids[0]}"'):
        assert text in page, text
    assert "secret" not in page


class TestWithKeys:
    @pytest.fixture
    def app(self, settings: Settings) -> APIFlask:
        entries = ",".join(f"{name}:{hash_of(name)}" for name in ("anna", "admin", "olga"))
        return create_app(settings.model_copy(update={"api_keys": entries, "admin_keys": "olga, admin"}))

    def test_only_operators(self, app: APIFlask, client: FlaskClient, photo: bytes) -> None:
        services: Services = app.extensions[EXTENSION]
        services.storage.prepare()

        def headers(name: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {name}"}

        job_id = post_files(client, (photo, "x.jpg"), headers=headers("anna")).get_json()["id"]
        paths = [("GET", "/status"), ("GET", "/status.json"), ("POST", f"/status/jobs/{job_id}/retry"),
                 ("POST", f"/status/jobs/{job_id}/cancel")]  # fmt: skip
        for method, path in paths:
            redirected = path == "/status"
            assert client.open(path, method=method).status_code == (303 if redirected else 401)
            answer = client.open(path, method=method, headers=headers("anna"))
            assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "forbidden")
        record = services.queue.get(job_id)
        assert record is not None
        assert record.state is JobState.QUEUED
        assert client.get("/status.json", headers=headers("olga")).get_json()["waiting"][0]["owner"] == "anna"
        assert 'href="/status"' not in client.get("/", headers=headers("anna")).get_data(as_text=True)
        assert 'href="/status"' in client.get("/docs", headers=headers("admin")).get_data(as_text=True)
        assert client.post(f"/status/jobs/{job_id}/cancel", headers=headers("admin")).status_code == 202
        services.close()


def test_figures_of_workers(client: FlaskClient, services: Services) -> None:
    announce(services, "small")
    (info,) = services.fleet.workers()
    told = info.model_copy(update={"memory_bytes": 5_000_000, "jobs_done": 7, "restarts": 2, "models": ["small"]})
    services.fleet.announce(told, ttl=60)
    text = client.get("/metrics").get_data(as_text=True)
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['dropsight_worker_memory_bytes{worker="w"}'] == "5e+06"
    assert lines['dropsight_worker_jobs_total{worker="w"}'] == "7.0"
    assert lines['dropsight_worker_restarts_total{worker="w"}'] == "2.0"
    (worker,) = client.get("/status.json").get_json()["workers"]
    assert (worker["models"], worker["memory_bytes"], worker["jobs"], worker["restarts"]) == (
        ["small"],
        5_000_000,
        7,
        2,
    )


def test_a_worker_of_an_older_version(client: FlaskClient, services: Services) -> None:
    announce(services, "small")
    (info,) = services.fleet.workers()
    old = json.loads(info.model_dump_json(exclude={"models", "memory_bytes", "jobs_done", "restarts"}))
    services.queue.redis.set(keys.worker("w"), json.dumps(old))
    assert client.get("/status.json").get_json()["workers"][0]["memory_bytes"] == 0
