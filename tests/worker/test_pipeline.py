"""The job function with the real small model, a real Redis and a real folder store."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import redis
from rq.job import Job
from rq.serializers import JSONSerializer

from shared.catalog import CatalogReader
from shared.errors import BadInputError, TransientError
from shared.jobs import (
    PHASES,
    InputFile,
    JobOptions,
    JobRequest,
    Progress,
    input_key,
    new_job_id,
    parts_key,
    result_key,
)
from shared.queue import JobQueue, PartsPendingError, Tally
from shared.results import ImageResult
from shared.settings import ROOT, Settings
from shared.storage import Storage, open_storage
from shared.videos import VideoOptions, VideoResult
from tests.worker.running import run
from tests.worker.videos.synthetic import walk, write_video
from worker import pipeline
from worker.clock import REPORT_INTERVAL_MS, PhaseClock
from worker.endings import PhotoEndings
from worker.findings import THUMBNAIL_SIDE
from worker.models.registry import ModelCache

MODEL = "yolo-fastest-1.1-xl"


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, data_dir: Path, engine_cache: Path) -> Settings:
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        weights_dir=data_dir / "weights",
        catalog=ROOT / "weights" / "catalog.toml",
        engine_cache_dir=engine_cache,
        default_model=MODEL,
        max_megapixels=1,
        threads=2,
    )


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    about = pipeline.set_up(settings)
    assert (about["engine"], about["models"], list(about["arithmetic"])) == ("openvino", [MODEL], [MODEL])
    storage = open_storage(settings)
    yield storage
    assert pipeline._tools is not None
    pipeline._tools.jobs.redis.close()
    pipeline._tools = None


def request_for(
    storage: Storage, data: bytes, connection: redis.Redis, settings: Settings, **options: float
) -> JobRequest:
    """A job as the web tier submits it."""
    job_id = new_job_id()
    key = input_key(job_id, ".jpg")
    storage.put(key, data, "image/jpeg")
    request = JobRequest(
        id=job_id,
        input=InputFile(key=key, filename="a b.jpg", content_type="image/jpeg", bytes=len(data), sha256="5" * 64),
        model=MODEL,
        options=JobOptions.model_validate(options),
        cache_key="c" * 64,
        created_at=datetime.now(UTC),
    )
    JobQueue(connection, settings).submit([request])
    return request


def result_of(storage: Storage, job_id: str) -> ImageResult:
    return ImageResult.from_json(storage.get(result_key(job_id, "result.json")))


def test_everything_is_stored(storage: Storage, settings: Settings, connection: redis.Redis, data_dir: Path) -> None:
    data = (data_dir / "photos" / "dog.jpg").read_bytes()
    request = request_for(storage, data, connection, settings)
    run(connection, settings, request)
    result = result_of(storage, request.id)
    assert [item.label for item in result.detections] == ["dog", "bicycle", "car", "truck"]
    assert result.text == "There is a bicycle, a car, a dog and a truck in this picture."
    assert (result.source.width, result.source.height, result.source.filename) == (768, 576, "a b.jpg")
    phases = set(PHASES) - {"load"}  # the model was in memory
    assert set(result.timings_ms) == {"queue", *phases, "total"}
    assert sum(result.timings_ms[phase] for phase in phases) <= result.timings_ms["total"]
    for artifact in result.artifacts:
        stored = storage.get(result_key(request.id, artifact.name))
        picture = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert (len(stored), *picture.shape[:2]) == (artifact.bytes, artifact.height, artifact.width)
    drawn = cv2.imdecode(
        np.frombuffer(storage.get(result_key(request.id, "annotated.jpg")), np.uint8), cv2.IMREAD_COLOR
    )
    plain = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert plain is not None
    changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 60
    left, top, right, bottom = (round(value) for value in result.detections[0].box)
    assert changed[top:bottom, left - 3 : left + 4].any(axis=1).mean() > 0.9, "the dog's left edge is drawn"
    assert changed[top + 40 : bottom - 40, left + 40 : right - 40].mean() < 0.2, "the dog itself is not"
    thumbnail = next(item for item in result.artifacts if item.name == "thumbnail.jpg")
    assert thumbnail.width == THUMBNAIL_SIDE


def test_twice_gives_the_same_and_counts_once(
    storage: Storage, settings: Settings, connection: redis.Redis, data_dir: Path
) -> None:
    request = request_for(storage, (data_dir / "photos" / "eagle.jpg").read_bytes(), connection, settings)
    seen = []
    for _ in range(2):
        run(connection, settings, request)
        seen.append((storage.get(result_key(request.id, "annotated.jpg")), result_of(storage, request.id).detections))
    assert seen[0] == seen[1]
    assert Tally(connection).counts() == {"bird": 1}
    jobs = JobQueue(connection, settings)
    assert pipeline._tools is not None
    computed_in = pipeline._tools.about["arithmetic"][MODEL]
    assert computed_in == result_of(storage, request.id).model.arithmetic
    assert jobs.before_submit([request.cache_key], "anna")[0] == [(request.id, computed_in)]


def test_what_is_canceled_at_its_end_leaves_no_result_and_does_not_count(
    storage: Storage, settings: Settings, connection: redis.Redis, data_dir: Path
) -> None:
    request = request_for(storage, (data_dir / "photos" / "eagle.jpg").read_bytes(), connection, settings)
    connection.hset(Job.key_for(request.id), "status", "canceled")
    run(connection, settings, request)
    assert Tally(connection).counts() == {}
    assert len(list(storage.list(f"results/{request.id}/"))) == 3
    job = Job.fetch(request.id, connection=connection, serializer=JSONSerializer)
    PhotoEndings(connection, settings).discard(job)
    assert list(storage.list(f"results/{request.id}/")) == []


def test_options_are_obeyed(storage: Storage, settings: Settings, connection: redis.Redis, data_dir: Path) -> None:
    data = (data_dir / "photos" / "dog.jpg").read_bytes()
    strict = request_for(storage, data, connection, settings, score=0.9)
    one = request_for(storage, data, connection, settings, max_detections=1, score=0.01)
    for request in (strict, one):
        run(connection, settings, request)
    assert [item.label for item in result_of(storage, strict.id).detections] == ["dog"]
    assert len(result_of(storage, one.id).detections) == 1


def test_an_empty_picture_has_an_honest_result(storage: Storage, settings: Settings, connection: redis.Redis) -> None:
    data = cv2.imencode(".jpg", np.full((60, 80, 3), 128, np.uint8))[1].tobytes()
    request = request_for(storage, data, connection, settings, score=0.9)
    run(connection, settings, request)
    result = result_of(storage, request.id)
    assert (result.detections, result.counts, result.object_string) == ([], {}, "")
    assert result.text.startswith("Nothing")


@pytest.mark.parametrize(
    ("size", "code"), [((1200, 1000), "too_many_pixels"), ((5, 3000), "bad_aspect"), (None, "bad_image")]
)
def test_what_cannot_be_looked_at(
    storage: Storage, settings: Settings, connection: redis.Redis, size: tuple[int, int] | None, code: str
) -> None:
    data = b"no picture" if size is None else cv2.imencode(".jpg", np.zeros((*size, 3), np.uint8))[1].tobytes()
    request = request_for(storage, data, connection, settings)
    with pytest.raises(BadInputError) as caught:
        run(connection, settings, request)
    assert caught.value.code == code
    assert list(storage.list(f"results/{request.id}/")) == []


def test_an_input_that_is_gone(storage: Storage, settings: Settings, connection: redis.Redis) -> None:
    request = request_for(storage, b"x", connection, settings)
    storage.delete(request.input.key)
    with pytest.raises(BadInputError, match="no longer there"):
        run(connection, settings, request)


def test_the_document_is_written_last(
    storage: Storage, settings: Settings, connection: redis.Redis, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage goes away in the middle: there is no result yet, and the next attempt makes one."""
    request = request_for(storage, (data_dir / "photos" / "eagle.jpg").read_bytes(), connection, settings)
    real = type(storage).put
    calls: list[str] = []

    def failing(self: Storage, key: str, data: bytes) -> None:
        calls.append(key)
        if len(calls) == 2:
            raise TransientError("storage_down", "away")
        real(self, key, data)

    monkeypatch.setattr(type(storage), "put", failing)
    with pytest.raises(TransientError):
        run(connection, settings, request)
    assert storage.stat(result_key(request.id, "result.json")) is None
    assert result_key(request.id, "result.json") not in calls
    run(connection, settings, request)
    assert calls[-1] == result_key(request.id, "result.json")
    assert result_of(storage, request.id).counts == {"bird": 1}


def test_without_weights_it_still_comes_up(settings: Settings, tmp_path: Path) -> None:
    empty = tmp_path / "no-weights"
    empty.mkdir()
    assert pipeline.set_up(settings.model_copy(update={"weights_dir": empty})) == {"engine": "auto", "models": []}
    assert pipeline._tools is not None
    pipeline._tools.jobs.redis.close()
    pipeline._tools = None
    with pytest.raises(RuntimeError):
        pipeline.run({})


def test_only_slow_jobs_report_progress(storage: Storage, settings: Settings, connection: redis.Redis) -> None:
    request = request_for(storage, b"x", connection, settings)
    jobs = JobQueue(connection, settings)
    clock = PhaseClock(lambda phase, percent: jobs.report_progress(request.id, Progress(phase=phase, percent=percent)))
    with clock.phase("fetch"):
        pass
    assert not connection.hexists(Job.key_for(request.id), "ds_progress")
    time.sleep(REPORT_INTERVAL_MS / 1000)
    with clock.phase("inference"):
        pass
    assert b'"phase":"inference"' in (connection.hget(Job.key_for(request.id), "ds_progress") or b"")
    assert clock.timings(request.created_at)["queue"] >= 0


def test_that_a_model_is_loaded_is_said_and_timed(
    storage: Storage, settings: Settings, connection: redis.Redis, data_dir: Path, tmp_path: Path
) -> None:
    """Of a photo at once, however short what came before was; and of a video."""
    assert pipeline._tools is not None
    photo = request_for(storage, (data_dir / "photos" / "eagle.jpg").read_bytes(), connection, settings)
    clip = request_for(storage, write_video(tmp_path / "v.mp4", walk(5)).read_bytes(), connection, settings)
    video = clip.model_copy(update={"video": VideoOptions(draw=False)})
    said: list[tuple[str, str]] = []

    class Listening(JobQueue):
        def report_progress(self, job_id: str, progress: Progress) -> None:
            said.append((job_id, progress.phase))
            super().report_progress(job_id, progress)

    tools = pipeline._tools
    for request, read in ((photo, ImageResult.from_json), (video, VideoResult.from_json)):
        models = ModelCache(CatalogReader(settings.catalog, MODEL).read, settings)
        pipeline._tools = replace(tools, models=models, jobs=Listening(connection, settings))
        run(connection, settings, request)
        timings = read(storage.get(result_key(request.id, "result.json"))).timings_ms
        assert 0 < timings["load"] <= timings["total"]
        assert (request.id, "load") in said
    assert {"load", "video load"} <= Tally(connection).phases().keys()


def test_a_split_video_joins_only_parts_of_its_own_plan(
    storage: Storage, settings: Settings, connection: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may end a part that it was given before the video was tried again, and planned anew."""
    tools = pipeline._tools
    assert tools is not None
    clip = request_for(storage, write_video(tmp_path / "v.mp4", walk(5)).read_bytes(), connection, settings)
    request = clip.model_copy(update={"video": VideoOptions(draw=False)})
    job = Job.fetch(request.id, connection=connection, serializer=JSONSerializer)
    job.kwargs = job.kwargs | {"request": request.model_dump(mode="json")}
    job.save()
    pipeline._tools = replace(
        tools,
        settings=settings.model_copy(update={"video_part_seconds": 1e-6}),
        models=ModelCache(CatalogReader(settings.catalog, MODEL).read, settings),
    )
    with pytest.raises(PartsPendingError):
        run(connection, settings, request)
    plan = json.loads(storage.get(parts_key(request.id, "plan.json")))
    assert plan.keys() == {"started_at", "facts", "segments", "frames", "seconds", "as_jobs"}, (
        "as older workers know it"
    )
    parts = [{"video": request.id, "number": segment["number"]} for segment in plan["segments"]]
    for part in parts:
        pipeline.run_part(part)
    key = parts_key(request.id, "0/part.json")
    document = json.loads(storage.get(key))
    storage.put(key, json.dumps(document | {"segment": document["segment"] | {"frames": 99}}).encode())
    tools.jobs.parts.drop(request.id)
    with pytest.raises(PartsPendingError):
        run(connection, settings, request)
    assert tools.jobs.lanes.parts.get_job_ids() == [f"{request.id}-0"]
    pipeline.run_part(parts[0])
    percents: list[int] = []
    monkeypatch.setattr(tools.jobs, "report_progress", lambda _, progress: percents.append(progress.percent))
    run(connection, settings, request)
    assert percents
    assert min(percents) == 96, "it goes on where it was"
    result = VideoResult.from_json(storage.get(result_key(request.id, "result.json")))
    assert result.analysed == 5
    assert 0 < result.timings_ms["load"] <= result.timings_ms["total"], "that the one who planned it loaded the model"


def test_a_video_counts_though_redis_was_away_at_its_end(
    storage: Storage, settings: Settings, connection: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result was written already: the next run has nothing to do but to say so, once."""
    data = write_video(tmp_path / "video.mp4", walk(5)).read_bytes()
    photo = request_for(storage, data, connection, settings)
    request = photo.model_copy(update={"video": VideoOptions(draw=False)})

    def away(*_: object, **__: object) -> None:
        raise TransientError("queue_down", "The queue cannot be reached at the moment.")

    with monkeypatch.context() as patch:
        patch.setattr(Tally, "record", away)
        with pytest.raises(TransientError):
            run(connection, settings, request)
    document = storage.get(result_key(request.id, "result.json"))
    for _ in range(2):
        run(connection, settings, request)
    assert storage.get(result_key(request.id, "result.json")) == document
    assert Tally(connection).phases()["video join"].jobs == 1
    found, _ = JobQueue(connection, settings).before_submit([request.cache_key], "anna")
    assert [entry and entry.job_id for entry in found] == [request.id]
    assert list(storage.list("parts/")) == []
