"""The files that only some models give, the links to them, and the page of several results."""

import io
import zipfile
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.jobs import JobView, result_key
from shared.results import Classification, Detection, Rle
from shared.storage import Blob
from shared.storage.folder import FolderStorage
from shared.stored_file import StoredFile
from tests.web.conftest import PlayedWorker, Upload, picture
from web.comparing import Line, compared
from web.services import Services

LINKS = {"self": "", "view": "", "events": ""}
RLE = Rle(size=(30, 40), counts="d1")
PEOPLE = [
    Detection(label="person", class_id=0, score=0.9, box=(1, 1, 9, 9), mask=RLE, mask_percent=5),
    Detection(label="person", class_id=0, score=0.8, box=(5, 5, 20, 20), mask=RLE, mask_percent=7),
]
CLASSES = [
    Classification(label="African elephant", class_id=386, score=0.91),
    Classification(label="tusker", class_id=101, score=0.06),
]


def masks_zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, f"png of {name}")
    return file.getvalue()


@pytest.fixture
def outlined(upload: Upload, played: PlayedWorker, photo: bytes) -> str:
    """A finished job of a model that outlines objects."""
    job_id = str(upload((photo, "people.jpg")).get_json()["id"])
    played.start(job_id)
    played.finish(
        job_id,
        {
            "instances.png": b"ids",
            "masks.zip": masks_zip("001-person.png", "002-person.png", *(f"{n:03d}-dog.png" for n in range(3, 1001))),
            "coco.json": b"{}",
        },
        task="segmentation",
        detections=PEOPLE,
        counts={"person": 2},
        mask_percent=11.5,
    )
    return job_id


@pytest.fixture
def classified(upload: Upload, played: PlayedWorker) -> str:
    """A finished job of a classifier that explains itself."""
    job_id = str(upload((picture(8, 8), "elephant.jpg")).get_json()["id"])
    played.start(job_id)
    played.finish(
        job_id,
        {"heatmap.jpg": b"heat"},
        task="classification",
        detections=[],
        counts={},
        classes=CLASSES,
        explained=CLASSES[0],
        text="This is most likely an African elephant (91 %).",
    )
    return job_id


def test_links_lead_to_the_files_there_are(client: FlaskClient, outlined: str, classified: str) -> None:
    expected = {
        outlined: {"instances": "image/png", "masks": "application/zip", "coco": "application/json"},
        classified: {"heatmap": "image/jpeg"},
    }
    for job_id, links in expected.items():
        found = client.get(f"/jobs/{job_id}").get_json()["links"]
        for name in ("heatmap", "instances", "masks", "coco"):
            if name not in links:
                assert found[name] is None
                continue
            with client.get(found[name]) as answer:
                assert (answer.status_code, answer.mimetype) == (200, links[name])
                assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_links_last_when_redis_has_forgotten(client: FlaskClient, services: Services, outlined: str) -> None:
    before = client.get(f"/jobs/{outlined}").get_json()["links"]
    services.queue.redis.flushall()
    assert client.get(f"/jobs/{outlined}").get_json()["links"] == before


@pytest.mark.parametrize(
    ("number", "content"), [("1", b"001-person.png"), ("100", b"100-dog.png"), ("1000", b"1000-dog.png")]
)
def test_the_mask_of_one_object(client: FlaskClient, outlined: str, number: str, content: bytes) -> None:
    answer = client.get(f"/results/{outlined}/masks/{number}.png")
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/png", b"png of " + content)
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["Content-Disposition"].startswith("inline")
    assert content.decode() in answer.headers["Content-Disposition"]
    again = client.get(f"/results/{outlined}/masks/{number}.png", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    saved = client.get(f"/results/{outlined}/masks/{number}.png?download=1")
    assert saved.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "name", ["0.png", "1001.png", "-1.png", "1.jpg", "001-person.png", "..%2f1.png", "1", "99999999999999999999.png"]
)
def test_no_other_mask_is_served(client: FlaskClient, outlined: str, name: str) -> None:
    assert client.get(f"/results/{outlined}/masks/{name}").status_code == 404


def test_a_result_without_masks_has_none(client: FlaskClient, classified: str) -> None:
    assert client.get(f"/results/{classified}/masks/1.png").status_code == 404
    assert client.get(f"/results/{'0' * 32}/masks/1.png").status_code == 404
    assert client.get("/results/x/masks/1.png").status_code == 404


def test_a_member_that_would_grow_too_large_is_not_read(client: FlaskClient, services: Services, outlined: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("001-bomb.png", bytes(26_000_000))
    services.storage.put(result_key(outlined, "masks.zip"), file.getvalue())
    assert client.get(f"/results/{outlined}/masks/1.png").status_code == 404
    services.storage.put(result_key(outlined, "masks.zip"), b"PK is no archive")
    assert client.get(f"/results/{outlined}/masks/1.png").status_code == 404


def test_only_the_parts_that_are_wanted_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FolderStorage(tmp_path / "store")
    storage.prepare()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}.bin", bytes([number]) * 100_000)
    storage.put("a.zip", file.getvalue())
    stat = storage.stat("a.zip")
    assert stat is not None
    fetched: list[int] = []
    real = FolderStorage.open

    def counted(self: FolderStorage, key: str, byte_range: tuple[int, int | None] | None = None) -> Blob:
        assert byte_range is not None
        blob = real(self, key, byte_range)
        fetched.append(blob.length)
        return blob

    monkeypatch.setattr(FolderStorage, "open", counted)
    with zipfile.ZipFile(io.BufferedReader(StoredFile(storage, stat), StoredFile.PIECE)) as archive:
        assert archive.read("50.bin") == bytes([50]) * 100_000
    assert sum(fetched) < 500_000
    assert len(fetched) < 10


def compare(client: FlaskClient, ids: str) -> TestResponse:
    return client.get("/compare", query_string={"ids": ids}, headers={"Accept": "text/html"})


def test_results_side_by_side(client: FlaskClient, outlined: str, classified: str) -> None:
    page = compare(client, f"{outlined},{classified}").get_data(as_text=True)
    assert page.index("people.jpg") < page.index("elephant.jpg")
    assert "This is most likely an African elephant (91 %)." in page
    assert f"/results/{classified}/heatmap.jpg" in page
    assert f"/results/{outlined}/annotated.jpg" in page
    assert page.count("11.5 % of the picture") == 1
    assert "<script>" not in page
    assert "style=" not in page


def test_what_most_agree_on_comes_first(client: FlaskClient, upload: Upload, played: PlayedWorker) -> None:
    views = []
    for width, counts in ((8, {"dog": 2, "cat": 1}), (9, {"cat": 3}), (10, {"cat": 1, "bird": 1})):
        job_id = upload((picture(width, 8), "x.jpg")).get_json()["id"]
        played.finish(job_id, counts=counts)
        views.append(JobView.model_validate(client.get(f"/jobs/{job_id}").get_json() | {"links": LINKS}))
    assert compared(views) == [
        Line("cat", ("1", "3", "1")),
        Line("dog", ("2", "", "")),
        Line("bird", ("", "", "1")),
    ]
    assert compared([]) == []


def test_of_two_classes_of_one_name_the_better_counts(
    client: FlaskClient, upload: Upload, played: PlayedWorker
) -> None:
    job_id = upload((picture(8, 8), "x.jpg")).get_json()["id"]
    cranes = [Classification(label="crane", class_id=number, score=score) for number, score in ((517, 0.6), (134, 0.2))]
    played.finish(job_id, task="classification", detections=[], counts={}, classes=cranes)
    view = JobView.model_validate(client.get(f"/jobs/{job_id}").get_json() | {"links": LINKS})
    assert compared([view]) == [Line("crane", ("60 %",))]


def test_jobs_that_have_not_finished_are_shown_as_they_are(
    client: FlaskClient, upload: Upload, played: PlayedWorker, outlined: str
) -> None:
    waiting, failed = (upload((picture(20 + n, 8), "x.jpg")).get_json()["id"] for n in range(2))
    played.start(failed)
    played.fail(failed, '{"code": "bad_image", "message": "It is <b>cut</b> off."}')
    page = compare(client, f"{waiting},{failed},{outlined}").get_data(as_text=True)
    assert "In the queue" in page
    assert "It is &lt;b&gt;cut&lt;/b&gt; off." in page


@pytest.mark.parametrize(
    ("ids", "status"),
    [("", 422), (",", 422), ("x", 404), ("0" * 32, 404), (",".join(f"{n:032x}" for n in range(5)), 422)],
)
def test_nothing_is_compared_that_is_not_there(client: FlaskClient, ids: str, status: int) -> None:
    assert compare(client, ids).status_code == status


def test_without_ids(client: FlaskClient) -> None:
    assert client.get("/compare").status_code == 422


def test_one_that_was_deleted_does_not_hide_the_others(client: FlaskClient, outlined: str) -> None:
    page = compare(client, f"{'0' * 32},{outlined}").get_data(as_text=True)
    assert page.count('class="panel answer"') == 1


def test_one_id_twice_is_one_answer(client: FlaskClient, outlined: str) -> None:
    page = compare(client, f"{outlined},{outlined}").get_data(as_text=True)
    assert page.count('class="panel answer"') == 1
