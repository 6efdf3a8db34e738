"""The web tier on a real Redis and a real folder store. The worker is played by the tests."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apiflask import APIFlask
from flask.testing import FlaskClient
from PIL import Image
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from shared.jobs import JobRequest, result_key
from shared.queue import WorkerInfo, keys
from shared.results import Artifact, Detection, ImageResult, ModelUsed, Source, count_labels, object_string, sentence
from shared.settings import Settings
from web.app import create_app
from web.services import EXTENSION, Services

CATALOG = """
default = "small"
[models.small]
family = "darknet"
title = "Small"
config = { name = "small.cfg" }
weights = { name = "small.weights", sha256 = "%s" }
classes = { name = "small.names" }
[models.large]
family = "darknet"
title = "Large"
config = { name = "large.cfg" }
weights = { name = "large.weights" }
classes = { name = "small.names" }
""" % ("a" * 64)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "catalog.toml").write_text(CATALOG)
    (weights / "small.names").write_text("person\ndog\n")
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        weights_dir=weights,
        catalog=weights / "catalog.toml",
        max_upload_mb=1,
        max_files=4,
        max_queue=5,
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[APIFlask]:
    app = create_app(settings)
    app.config["TESTING"] = False  # errors are answered, as in production
    services: Services = app.extensions[EXTENSION]
    services.storage.prepare()
    yield app
    services.close()


@pytest.fixture
def services(app: APIFlask) -> Services:
    found: Services = app.extensions[EXTENSION]
    return found


@pytest.fixture
def client(app: APIFlask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def photo() -> bytes:
    return picture(40, 30)


def picture(width: int, height: int, kind: str = "JPEG", colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind)
    return file.getvalue()


Upload = Callable[..., TestResponse]


@pytest.fixture
def upload(client: FlaskClient) -> Upload:
    def send(
        *files: tuple[bytes, str], query: str = "", headers: dict[str, str] | None = None, **fields: Any
    ) -> TestResponse:
        return post_files(client, *files, path=f"/upload{query}", headers=headers, **fields)

    return send


def post_files(
    client: FlaskClient,
    *files: tuple[bytes, str],
    path: str = "/upload",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> TestResponse:
    # encoded here: the test client would do it in a temporary file that it never closes
    parts = {"file": [FileStorage(io.BytesIO(content), name) for content, name in files], **fields}
    boundary, body = encode_multipart(parts)
    kind = f"multipart/form-data; boundary={boundary}"
    return client.post(path, data=body, content_type=kind, headers=headers)


def announce(services: Services, *installed: str, ready: bool = True, **more: Any) -> None:
    fields = {"name": "w", "host": "h", "pid": 1, "state": "idle", "engine": "test", "started_at": 0} | more
    services.fleet.announce(WorkerInfo(installed=list(installed), ready=ready, **fields), ttl=60)


class PlayedWorker:
    """Ends jobs as a worker would, without looking at a pixel."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def request(self, job_id: str) -> JobRequest:
        return JobRequest.model_validate(self.job(job_id).kwargs["request"])

    def job(self, job_id: str) -> Job:
        return Job.fetch(job_id, connection=self.services.queue.redis, serializer=JSONSerializer)

    def start(self, job_id: str) -> None:
        redis = self.services.queue.redis
        redis.lrem(f"rq:queue:{keys.QUEUE}", 1, job_id)
        with redis.pipeline() as pipe:
            self.job(job_id).prepare_for_execution("w", pipe)
            pipe.execute()
        self.services.queue.events.publish(job_id)

    def finish(self, job_id: str, files: dict[str, bytes] | None = None, **update: Any) -> ImageResult:
        """End a job well: with two objects, or with other fields of the result and more files of it."""
        request = self.request(job_id)
        now = datetime.now(UTC)
        detections = [
            Detection(label="dog", class_id=1, score=0.9, box=(1, 2, 10, 20)),
            Detection(label="person", class_id=0, score=0.8, box=(5, 5, 30, 25)),
        ]
        counts = count_labels(item.label for item in detections)
        result = ImageResult(
            id=job_id,
            created_at=request.created_at,
            started_at=now,
            finished_at=now + timedelta(milliseconds=5),
            source=Source(
                filename=request.input.filename,
                content_type=request.input.content_type,
                bytes=request.input.bytes,
                sha256=request.input.sha256,
                width=40,
                height=30,
                format="JPEG",
            ),
            model=ModelUsed(
                name=request.model,
                family="darknet",
                engine="test",
                precision="f32",
                weights_sha256="a" * 64,
                input_size=(8, 8),
            ),
            options=request.options.model_dump(),
            detections=detections,
            counts=counts,
            object_string=object_string(counts),
            text=sentence(counts),
            notes=[],
            artifacts=[
                Artifact(name="annotated.jpg", content_type="image/jpeg", bytes=3),
                *(Artifact(name=name, content_type="", bytes=len(data)) for name, data in (files or {}).items()),
            ],
            timings_ms={"total": 5.0, "inference": 3.0},
        ).model_copy(update=update)
        storage = self.services.storage
        for name, data in (files or {}).items():
            storage.put(result_key(job_id, name), data)
        storage.put(result_key(job_id, "annotated.jpg"), b"jpg", "image/jpeg")
        storage.put(result_key(job_id, "thumbnail.jpg"), b"tmb", "image/jpeg")
        storage.put(result_key(job_id, "result.json"), result.to_json(), "application/json")
        self._end(job_id, JobStatus.FINISHED)
        self.services.queue.remember_cached(request.cache_key, job_id, result.model.arithmetic)
        self.services.tally.record(Job.key_for(job_id), counts, result.timings_ms, request.owner)
        return result

    def fail(self, job_id: str, error: str) -> None:
        self.services.queue.redis.hset(Job.key_for(job_id), keys.ERROR, error)
        self._end(job_id, JobStatus.FAILED)

    def _end(self, job_id: str, status: JobStatus) -> None:
        job = self.job(job_id)
        job.ended_at = datetime.now(UTC)
        job.set_status(status)
        job.save()
        job.cleanup(60)
        self.services.queue.events.publish(job_id)


@pytest.fixture
def played(services: Services) -> PlayedWorker:
    return PlayedWorker(services)
