"""Videos at the web tier: what is one, what goes with the job, and how its files are served. The worker is played."""

import io
import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image

from shared.jobs import LIVE_FRAME, JobState, parts_key, parts_prefix, result_key
from shared.results import Artifact, Detection
from shared.videos import FrameDetections, VideoOptions
from tests.video_documents import FINDINGS, video_result
from tests.web.conftest import PlayedWorker, Upload, picture
from web.moving import Moving
from web.services import Services
from web.sniffing import HEAD_BYTES, sniff

MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42" + b"\0" * 100


def finish(played: PlayedWorker, job_id: str, files: dict[str, bytes]) -> None:
    storage = played.services.storage
    for name, data in files.items():
        storage.put(result_key(job_id, name), data)
    artifacts = [Artifact(name=name, content_type="", bytes=1) for name in files]
    result = video_result(job_id, FINDINGS.model_copy(update={"artifacts": artifacts}))
    storage.put(result_key(job_id, "result.json"), result.to_json())
    played._end(job_id, "finished")  # type: ignore[arg-type]


def animation(kind: str, frames: int) -> bytes:
    file = io.BytesIO()
    first, *others = [Image.new("RGB", (20, 10), (60 * number, 0, 0)) for number in range(frames)]
    first.save(file, kind, save_all=True, append_images=others, duration=100)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_what_moves_is_a_video(kind: str, upload: Upload, played: PlayedWorker) -> None:
    still = upload((animation(kind, 1), "a")).get_json()["id"]
    moving = upload((animation(kind, 3), "a")).get_json()["id"]
    assert (played.request(still).kind, played.request(moving).kind) == ("image", "video")


def test_moving_as_a_decoder_sees_it(data_dir: Path) -> None:
    """In whatever pieces a file comes."""
    seen = set()
    for path in sorted((data_dir / "odd" / "images").iterdir()):
        data = path.read_bytes()
        moving = Moving.of(sniff(data[:HEAD_BYTES]) or "")
        if moving is None:
            continue
        for start in range(0, len(data), 7):
            moving.feed(data[start : start + 7])
        try:
            with Image.open(io.BytesIO(data)) as image:
                frames = getattr(image, "n_frames", 1)
        except Exception:  # noqa: BLE001  what Pillow gives up, a worker may, too
            continue
        if path.name != "decompression_bomb_extents.gif":  # whose second frame Pillow does not count
            assert moving.found is (frames > 1), (path.name, frames)
        seen.add((path.suffix, moving.found))
    assert {
        (".gif", True),
        (".gif", False),
        (".webp", True),
        (".webp", False),
        (".apng", True),
        (".png", False),
    } <= seen


def test_a_file_of_tiny_blocks_is_not_looked_at_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second image is found as long as what is before it has few blocks, however the file is made."""
    monkeypatch.setattr("web.moving._MOST_ANSWERS", 1000)
    image = b"," + b"\0" * 9 + b"\2"
    for blocks, found in ((100, True), (1000, False)):
        moving = Moving.of("image/gif")
        assert moving is not None
        moving.feed(b"GIF89a" + b"\0" * 7 + image + b"\1\x55" * blocks + b"\0" + image + b"\0;")
        assert moving.found is found, blocks


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a",
        b"GIF89a" + b"\0" * 6 + b"\xff" * 500,
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 50,
        b"RIFF\0\0\0\0WEBP" + b"\xff",
    ],
)
def test_what_is_no_picture_does_not_move(data: bytes) -> None:
    for content_type in ("image/gif", "image/png", "image/webp"):
        moving = Moving.of(content_type)
        assert moving is not None
        moving.feed(data)
        assert not moving.found


def test_every_real_video_is_taken_for_one(data_dir: Path) -> None:
    for path in (data_dir / "videos").iterdir():
        kind = sniff(path.read_bytes()[:HEAD_BYTES]) or ""
        assert kind.startswith("video/") is (not path.name.startswith("LICENSE")), path.name


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "video/quicktime"),
        (b"\x00\x00\x00\x14ftyp3gp4\x00\x00\x00\x003gp4", "video/3gpp"),
        (b"\x00\x00\x00\x14ftypcrx \x00\x00\x00\x00crx ", None),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\x01\x00\x00\x00\x00\x00\x00\x1f\x42\x82\x88matroska", "video/x-matroska"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "video/x-msvideo"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", None),
        (b"\x00\x00\x01\xba\x44", "video/mpeg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "video/x-ms-wmv"),
        (b"FLV\x01\x05", "video/x-flv"),
        ((b"G" + b"\xff" * 187) * 5, "video/mp2t"),
        ((b"\x00\x00\x00\x00G" + b"\xff" * 187) * 5, "video/mp2t"),
        (b"G" + b"\xff" * 1000, None),
        (b"ID3\x03\x00", None),
    ],
)
def test_types_by_the_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


def test_the_options_go_with_videos_only(upload: Upload, played: PlayedWorker) -> None:
    fields = {"every": "3", "start": "1.5", "end": "", "line": "0, 0.5, 1,0.5", "zone": "0,0 1,0 1,1", "draw": "false"}
    photo, video = upload((picture(8, 8), "a.jpg"), (MP4, "a.mp4"), **fields).get_json()["jobs"]
    assert played.request(photo["id"]).video is None
    assert played.request(video["id"]).video == VideoOptions(
        every=3, start=1.5, line=(0, 0.5, 1, 0.5), zone=((0, 0), (1, 0), (1, 1)), draw=False
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"every": "0"}, "every"),
        ({"every": "2", "fps": "5"}, "either every or fps"),
        ({"start": "5", "end": "4"}, "end"),
        ({"start": "inf"}, "start"),
        ({"end": "1e308"}, "end"),
        ({"line": "0,0,2,0"}, "line"),
        ({"line": "0,0,1"}, "line"),
        ({"zone": "0,0 1,1"}, "zone"),
        ({"zone": "0,0 a,1 1,1"}, "zone"),
        ({"fps": "nan"}, "fps"),
        ({"fps": "0.009"}, "fps"),
    ],
)
def test_options_that_are_none(fields: dict[str, str], name: str, upload: Upload, services: Services) -> None:
    answer = upload((MP4, "a.mp4"), **fields)
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (422, "invalid_option")
    assert name in answer.get_json()["error"]["message"]
    assert list(services.storage.list("inputs/")) == []


def test_a_video_may_be_larger_than_a_photo(upload: Upload) -> None:
    """The settings of these tests have 1 MB for a photo."""
    assert upload((MP4 + b"\0" * 2_000_000, "a.mp4")).status_code == 202
    moving = animation("GIF", 3)
    assert upload((moving + b"\0" * 2_000_000, "a.gif")).status_code == 202
    assert upload((animation("GIF", 1) + b"\0" * 2_000_000, "a.gif")).status_code == 413


def test_only_what_counts_makes_another_video(upload: Upload, played: PlayedWorker) -> None:
    first = upload((MP4, "a.mp4"), draw="false").get_json()["id"]
    finish(played, first, {})
    played.services.queue.remember_cached(played.request(first).cache_key, first, "test/f32")
    assert upload((MP4, "b.mp4"), draw="false", max_side="640").get_json()["id"] == first
    for other in ({"draw": "true"}, {"draw": "false", "every": "2"}, {"draw": "false", "line": "0,0,1,1"}):
        assert upload((MP4, "b.mp4"), **other).get_json()["id"] != first


def test_the_life_of_a_video(client: FlaskClient, upload: Upload, played: PlayedWorker) -> None:
    job_id = upload((MP4, "a.mp4")).get_json()["id"]
    assert client.get(f"/jobs/{job_id}").get_json()["kind"] == "video"
    played.start(job_id)
    job = client.get(f"/jobs/{job_id}").get_json()
    assert client.get(job["links"]["live"]).status_code == 404
    played.services.storage.put(parts_key(job_id, LIVE_FRAME), b"jpeg")
    live = client.get(job["links"]["live"])
    assert (live.data, live.mimetype, live.headers["Cache-Control"]) == (b"jpeg", "image/jpeg", "no-store")
    files = {
        "annotated.mp4": b"film",
        "poster.jpg": b"p",
        "preview.webp": b"w",
        "frames.jsonl": b"",
        "frames.csv": b"c",
    }
    finish(played, job_id, files)
    job = client.get(f"/jobs/{job_id}").get_json()
    links = job["links"]
    names = ("video", "image", "preview", "frames", "csv")
    assert [client.get(links[name]).data for name in names] == list(files.values())
    assert (links["live"], links["original"]) == (None, f"/results/{job_id}/original")
    assert client.get(links["original"]).data == MP4
    assert job["result"]["kind"] == "video"
    assert set(job["colours"]) == {"person", "dog"}
    view = client.get(f"/view/{job_id}", headers={"Accept": "*/*"})
    assert (view.data, view.mimetype) == (b"film", "video/mp4")
    assert "media-src 'self'" in view.headers["Content-Security-Policy"]
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert list(played.services.storage.list("")) == []


def test_without_a_drawn_video_there_is_the_document(client: FlaskClient, upload: Upload, played: PlayedWorker) -> None:
    job_id = upload((MP4, "a.mp4"), draw="false").get_json()["id"]
    finish(played, job_id, {"poster.jpg": b"p", "frames.jsonl": b""})
    view = client.get(f"/view/{job_id}", headers={"Accept": "*/*"})
    assert view.get_json()["text"] == "This video shows 1 person."
    assert client.get(f"/jobs/{job_id}").get_json()["links"]["video"] is None


def test_a_cancel_takes_the_parts_along(client: FlaskClient, upload: Upload, services: Services) -> None:
    job_id = upload((MP4, "a.mp4")).get_json()["id"]
    services.storage.put(parts_key(job_id, "0/part.json"), b"{}")
    assert client.post(f"/jobs/{job_id}/cancel").get_json()["state"] == JobState.CANCELED
    assert list(services.storage.list(parts_prefix(job_id))) == []


@pytest.mark.parametrize(
    ("wanted", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=0-3", 200, b"0123456789", None),
        ("bytes=x", 200, b"0123456789", None),
    ],
)
def test_ranges(
    client: FlaskClient,
    services: Services,
    wanted: str,
    status: int,
    body: bytes | None,
    content_range: str | None,
) -> None:
    services.storage.put(result_key("0" * 32, "annotated.mp4"), b"0123456789")
    answer = client.get(f"/results/{'0' * 32}/annotated.mp4", headers={"Range": wanted})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, content_range)
    if body is not None:
        assert answer.data == body
        assert int(answer.headers["Content-Length"]) == len(body)
        assert answer.headers["Accept-Ranges"] == "bytes"


def test_what_the_client_has_is_not_sent_in_parts_either(client: FlaskClient, services: Services) -> None:
    services.storage.put(result_key("0" * 32, "annotated.mp4"), b"0123456789")
    path = f"/results/{'0' * 32}/annotated.mp4"
    etag = client.get(path).headers["ETag"]
    for condition, value, status in (
        ("If-None-Match", etag, 304),
        ("If-None-Match", '"other"', 206),
        ("If-Match", etag, 206),
        ("If-Match", '"other"', 412),
    ):
        answer = client.get(path, headers={"Range": "bytes=2-3", condition: value})
        assert answer.status_code == status, (condition, value)
        assert (answer.headers.get("Content-Range") == "bytes 2-3/10") is (status == 206)


def test_a_range_of_another_version_is_all_of_this_one(client: FlaskClient, services: Services) -> None:
    services.storage.put(result_key("0" * 32, "annotated.mp4"), b"0123456789")
    path = f"/results/{'0' * 32}/annotated.mp4"
    etag = client.get(path).headers["ETag"]
    for if_range, status in ((etag, 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        headers = {"Range": "bytes=2-3", "If-Range": if_range}
        assert client.get(path, headers=headers).status_code == status, if_range


def test_frames_page_by_page(client: FlaskClient, services: Services) -> None:
    """Lines of very different length: each start is found, and pages join without a gap."""
    numbers = sorted({number * number // 7 for number in range(300)})
    frames = [
        FrameDetections(
            index=number,
            time=number / 10,
            detections=[
                Detection(label="person", class_id=0, score=0.5, box=(0, 0, 1, 1)) for _ in range(number * 13 % 90)
            ],
        )
        for number in numbers
    ]
    job_id = "0" * 32
    lines = [frame.model_dump_json(exclude_none=True).encode() for frame in frames]
    services.storage.put(result_key(job_id, "frames.jsonl"), b"".join(line + b"\n" for line in lines))
    for start in range(0, numbers[-1] + 3, 29):
        page = client.get(f"/jobs/{job_id}/frames?start={start}&limit=2").get_json()
        expected = [number for number in numbers if number >= start]
        assert [frame["index"] for frame in page["frames"]] == expected[:2]
        assert page["next"] == (expected[2] if len(expected) > 2 else None)
    found: list[object] = []
    following: int | None = 0
    while following is not None:
        page = client.get(f"/jobs/{job_id}/frames?start={following}").get_json()
        found += page["frames"]
        following = page["next"]
    assert found == [json.loads(line) for line in lines]
    assert client.get(f"/jobs/{job_id}/frames?limit=1001").status_code == 422
    assert client.get(f"/jobs/{'1' * 32}/frames").status_code == 404
