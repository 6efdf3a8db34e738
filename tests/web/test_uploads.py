import io
import threading
import time
from pathlib import Path

import pillow_heif
import pytest
from flask.testing import FlaskClient
from PIL import Image
from rq.job import JobStatus

from shared.errors import PublicError, TransientError
from shared.media import IMAGE_ENDINGS
from shared.queue import JobQueue
from shared.queue.connection import text
from shared.settings import Settings
from tests.conftest import RedisServer, make_redis_server
from tests.web.conftest import PlayedWorker, Upload, announce, picture
from web.app import create_app
from web.services import EXTENSION, Services
from web.sniffing import sniff


def stored(services: Services, prefix: str = "inputs/") -> list[str]:
    return [item.key for item in services.storage.list(prefix)]


def test_an_upload_is_answered_at_once(upload: Upload, services: Services, photo: bytes) -> None:
    answer = upload((photo, "dog.jpg"))
    assert answer.status_code == 202
    body = answer.get_json()
    job_id = body["id"]
    assert body == {
        "id": job_id,
        "model": "small",
        "url": f"/view/{job_id}",
        "status_url": f"/jobs/{job_id}",
        "state": "queued",
        "position": 1,
        "cached": False,
    }
    assert answer.headers["Location"] == f"/jobs/{job_id}"
    assert services.storage.get(f"inputs/{job_id}.jpg") == photo
    assert upload((picture(8, 8), "next.jpg")).get_json()["position"] == 2


def test_redis_holds_no_pixels(upload: Upload, services: Services, photo: bytes) -> None:
    upload((photo, "dog.jpg"))
    redis = services.queue.redis
    for key in redis.scan_iter("*"):
        assert photo[:64] not in (redis.dump(key) or b"")


def test_several_files_are_several_jobs(upload: Upload, services: Services) -> None:
    answer = upload((picture(8, 8), "a.jpg"), (picture(9, 9, "PNG"), "b.png"), (picture(7, 7, "WEBP"), "c.webp"))
    assert answer.status_code == 202
    jobs = answer.get_json()["jobs"]
    assert [job["position"] for job in jobs] == [1, 2, 3]
    assert sorted(key.rsplit(".", 1)[1] for key in stored(services)) == ["jpg", "png", "webp"]


def test_the_type_is_told_by_the_content(upload: Upload, services: Services) -> None:
    assert upload((picture(8, 8, "PNG"), "lies.exe")).status_code == 202
    assert stored(services)[0].endswith(".png")


@pytest.mark.parametrize("kind", list(IMAGE_ENDINGS))
def test_every_kind_that_is_advertised_is_taken(upload: Upload, services: Services, kind: str) -> None:
    pillow_heif.register_heif_opener()
    names = {"image/x-portable-anymap": "PPM", "image/heic": "HEIF"}
    name = names.get(kind, kind.removeprefix("image/").upper())
    answer = upload((picture(64, 48, name), "x"))
    assert answer.status_code == 202, answer.get_json()
    (key,) = stored(services)
    assert key.endswith(IMAGE_ENDINGS[kind])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf", "image/avif"),
        (b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "image/avif"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  heic", "video/quicktime"),
        (b"\x00\x00\x00\x00ftyp", "video/mp4"),
        (b"II+\x00\x08\x00\x00\x00", "image/tiff"),
    ],
)
def test_types_by_the_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head + b"\0" * 100) == kind


def test_a_photo_of_every_size_is_taken(upload: Upload) -> None:
    """Werkzeug holds the pieces of a file, too, to its limit for form fields."""
    for side in (100, 300, 500, 900):
        noise = Image.effect_noise((side, side), 60)
        file = io.BytesIO()
        noise.save(file, "JPEG", quality=90)
        assert upload((file.getvalue(), f"{side}.jpg")).status_code == 202


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"just text", "photo.jpg"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "x.svg"),
        (b"<!doctype html><script>alert(1)</script>", "x.jpg"),
        (b"%PDF-1.7 ...", "x.pdf"),
        (b"", "empty.jpg"),
        (b"PK\x03\x04" + b"\0" * 64, "x.zip"),
    ],
)
def test_what_is_not_an_image_is_refused(upload: Upload, services: Services, content: bytes, name: str) -> None:
    answer = upload((content, name))
    assert answer.status_code == 415
    assert answer.get_json()["error"]["code"] == "unsupported_type"
    assert stored(services) == []
    assert services.queue.waiting() == 0


def test_one_bad_file_refuses_all_and_leaves_nothing(upload: Upload, services: Services, photo: bytes) -> None:
    answer = upload((photo, "good.jpg"), (b"text", "bad.jpg"))
    assert answer.status_code == 415
    assert "bad.jpg" in answer.get_json()["error"]["message"]
    assert stored(services) == []
    assert services.queue.waiting() == 0


def test_a_file_over_the_limit_is_refused(upload: Upload, services: Services, photo: bytes) -> None:
    answer = upload((photo + b"\0" * (1024 * 1024), "big.jpg"))
    assert answer.status_code == 413
    assert answer.get_json()["error"]["code"] == "too_large"
    assert stored(services) == []


def test_a_file_of_just_the_limit_is_taken(upload: Upload, photo: bytes) -> None:
    assert upload((photo + b"\0" * (1024 * 1024 - len(photo)), "big.jpg")).status_code == 202


def test_the_limit_holds_without_a_content_length(client: FlaskClient, services: Services, photo: bytes) -> None:
    """Chunked encoding: the size is known only when it has come."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
    body = head + photo + b"\0" * (2 * 1024 * 1024) + b"\r\n--b--\r\n"
    answer = client.post(
        "/upload",
        input_stream=io.BytesIO(body),
        content_type="multipart/form-data; boundary=b",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 413
    assert stored(services) == []


def test_too_many_files_are_refused(upload: Upload, services: Services) -> None:
    answer = upload(*[(picture(8, 8 + n), f"{n}.jpg") for n in range(5)])
    assert answer.status_code == 413
    assert stored(services) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"score": "2"}, "score"),
        ({"score": "nan"}, "score"),
        ({"iou": "-0.1"}, "iou"),
        ({"max_detections": "0"}, "max_detections"),
        ({"max_detections": "many"}, "max_detections"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_options_are_named(
    upload: Upload, services: Services, photo: bytes, fields: dict[str, str], named: str
) -> None:
    answer = upload((photo, "x.jpg"), **fields)
    assert answer.status_code == 422
    error = answer.get_json()["error"]
    assert error["code"] == "invalid_option"
    assert named in error["message"]
    assert stored(services) == []


def test_an_unknown_model_names_the_choices(upload: Upload, services: Services, photo: bytes) -> None:
    answer = upload((photo, "x.jpg"), model="huge")
    assert answer.status_code == 422
    error = answer.get_json()["error"]
    assert error["code"] == "unknown_model"
    assert "small" in error["message"]
    assert "large" in error["message"]
    assert stored(services) == []


def test_a_model_that_no_worker_has_is_refused(upload: Upload, services: Services, photo: bytes) -> None:
    announce(services, "small")
    answer = upload((photo, "x.jpg"), model="large")
    assert answer.status_code == 422
    assert answer.get_json()["error"]["code"] == "model_not_installed"
    assert "make weights MODEL=large" in answer.get_json()["error"]["message"]
    assert upload((photo, "x.jpg"), model="small").status_code == 202


def test_without_a_file(client: FlaskClient, upload: Upload) -> None:
    assert upload().get_json()["error"]["code"] == "no_file"
    assert client.post("/upload").status_code == 400
    answer = client.post("/upload", data={"file": "a text field"}, content_type="multipart/form-data")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "no_file")


def test_an_upload_that_breaks_off_leaves_nothing(client: FlaskClient, services: Services, photo: bytes) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
    answer = client.post("/upload", data=head + photo, content_type="multipart/form-data; boundary=b")
    assert answer.status_code == 400
    assert stored(services) == []
    assert services.queue.waiting() == 0


def test_a_full_queue_says_when_to_come_back(upload: Upload, services: Services) -> None:
    for number in range(5):
        assert upload((picture(8, 8 + number), "x.jpg")).status_code == 202
    answer = upload((picture(20, 20), "x.jpg"))
    assert answer.status_code == 429
    assert answer.get_json()["error"]["code"] == "queue_full"
    assert int(answer.headers["Retry-After"]) >= 1
    assert len(stored(services)) == 5


def test_files_that_do_not_all_fit_are_all_refused(upload: Upload, services: Services) -> None:
    for number in range(3):
        upload((picture(8, 8 + number), "x.jpg"))
    answer = upload(*[(picture(30, 8 + n), "x.jpg") for n in range(3)])
    assert answer.status_code == 429
    assert services.queue.waiting() == 3
    assert len(stored(services)) == 3


def test_the_same_again_is_answered_from_the_cache(
    upload: Upload, services: Services, played: PlayedWorker, photo: bytes
) -> None:
    first = upload((photo, "dog.jpg"), score="0.5").get_json()["id"]
    played.finish(first)
    answer = upload((photo, "other-name.jpg"), score="0.5")
    assert answer.status_code == 200
    body = answer.get_json()
    assert (body["id"], body["state"], body["cached"]) == (first, "finished", True)
    assert body["result"]["counts"] == {"dog": 1, "person": 1}
    assert body["url"] == f"/view/{first}"
    assert len(stored(services)) == 1
    assert upload((photo, "dog.jpg"), score="0.6").get_json()["id"] != first
    assert upload((photo, "dog.jpg"), score="0.5", model="large").get_json()["id"] != first


def test_what_workers_would_not_compute_now_is_no_answer(
    upload: Upload, services: Services, played: PlayedWorker, photo: bytes
) -> None:
    first = upload((photo, "dog.jpg")).get_json()["id"]
    played.finish(first)  # by an engine "test", in f32
    announce(services, "small", arithmetic={"small": "test/f32"})
    assert upload((photo, "dog.jpg")).get_json()["id"] == first
    for arithmetic in ({"small": "test/int8"}, {"large": "test/f32"}, {}):
        announce(services, "small", arithmetic=arithmetic)
        assert upload((photo, "dog.jpg")).status_code == 202, arithmetic


def test_a_cached_result_that_is_gone_is_made_anew(
    upload: Upload, services: Services, played: PlayedWorker, photo: bytes
) -> None:
    first = upload((photo, "dog.jpg")).get_json()["id"]
    played.finish(first)
    services.storage.delete_prefix(f"results/{first}/")
    answer = upload((photo, "dog.jpg"))
    assert answer.status_code == 202
    assert answer.get_json()["id"] != first


def test_a_canceled_job_is_no_answer(upload: Upload, played: PlayedWorker, photo: bytes) -> None:
    """Canceled after its result was written, before it was finished."""
    first = upload((photo, "dog.jpg")).get_json()["id"]
    played.finish(first)
    played.job(first).set_status(JobStatus.CANCELED)
    assert upload((photo, "dog.jpg")).status_code == 202


def test_many_files_some_known(upload: Upload, played: PlayedWorker, photo: bytes) -> None:
    first = upload((photo, "dog.jpg")).get_json()["id"]
    played.start(first)
    played.finish(first)
    jobs = upload((photo, "dog.jpg"), (picture(8, 8), "new.jpg")).get_json()["jobs"]
    assert [job["cached"] for job in jobs] == [True, False]
    assert [job["position"] for job in jobs] == [None, 1]


def test_waiting_gives_the_result(upload: Upload, services: Services, played: PlayedWorker, photo: bytes) -> None:
    def work() -> None:
        while (job_id := services.queue.redis.lindex("rq:queue:dropsight", 0)) is None:
            time.sleep(0.01)
        played.start(text(job_id))
        time.sleep(0.2)
        played.finish(text(job_id))

    worker = threading.Thread(target=work)
    worker.start()
    answer = upload((photo, "dog.jpg"), headers={"Prefer": "respond-async, wait=10"})
    worker.join()
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=10"
    body = answer.get_json()
    assert body["state"] == "finished"
    assert body["result"]["text"] == "There is a dog and a person in this picture."
    assert body["url"] == f"/view/{body['id']}"


def test_waiting_in_vain_gives_the_state(upload: Upload, photo: bytes) -> None:
    begin = time.monotonic()
    answer = upload((photo, "dog.jpg"), query="?wait=1")
    assert 0.9 < time.monotonic() - begin < 10
    assert answer.status_code == 202
    assert answer.get_json()["state"] == "queued"


def test_a_wait_that_is_no_number(upload: Upload, photo: bytes) -> None:
    answer = upload((photo, "dog.jpg"), query="?wait=soon")
    assert answer.status_code == 422


def test_storage_away(upload: Upload, services: Services, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: object) -> None:
        raise TransientError("storage_down", "Storage is away.", retry_after=5)

    monkeypatch.setattr(type(services.storage), "writer", away)
    answer = upload((photo, "dog.jpg"))
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "storage_down"
    assert services.queue.waiting() == 0


def test_a_full_disk(upload: Upload, services: Services, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise PublicError("storage_full", "Storage is full.")

    monkeypatch.setattr(type(services.storage), "writer", full)
    assert upload((photo, "dog.jpg")).status_code == 507


def test_redis_dies_between_the_check_and_the_queue(
    upload: Upload, services: Services, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object) -> None:
        raise TransientError("queue_down", "away", retry_after=5)

    monkeypatch.setattr(JobQueue, "submit", away)
    answer = upload((photo, "dog.jpg"))
    assert answer.status_code == 503
    assert stored(services) == []


def test_redis_is_not_there(settings: Settings, short_tmp: Path, photo: bytes, request: pytest.FixtureRequest) -> None:
    """Killed for real, and back."""
    server: RedisServer = make_redis_server(short_tmp / "mortal")
    server.start()
    request.addfinalizer(server.kill)
    app = create_app(settings.model_copy(update={"redis_url": server.url}))
    app.extensions[EXTENSION].storage.prepare()
    client = app.test_client()

    def send() -> int:
        data = {"file": (io.BytesIO(photo), "x.jpg")}
        return client.post("/upload", data=data, content_type="multipart/form-data").status_code

    assert send() == 202
    server.kill()
    assert send() == 503
    answer = client.get("/jobs")
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "queue_down"
    assert "Retry-After" in answer.headers
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    server.start()
    assert send() == 202
    app.extensions[EXTENSION].close()


def test_the_form_of_the_page_works_without_scripts(upload: Upload, photo: bytes) -> None:
    answer = upload((photo, "dog.jpg"), headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/view/")


def test_behind_a_proxy_links_bear_its_name(settings: Settings, photo: bytes) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "photos.example", "Accept": "text/html"}
    for proxies, expected in ((0, "http://localhost/"), (1, "https://photos.example/")):
        app = create_app(settings.model_copy(update={"trusted_proxies": proxies}))
        with app.test_client() as client:
            page = client.get("/", headers=headers).get_data(as_text=True)
        assert f"{expected}upload" in page
        app.extensions[EXTENSION].close()
