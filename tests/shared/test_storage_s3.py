"""What only S3 has: signatures, links, buckets, a network that fails, thousands of objects."""

import logging
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import ClassVar, Self

import boto3
import pytest
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from shared.errors import PublicError, TransientError
from shared.settings import Settings
from shared.storage import MissingObjectError, Storage, open_storage
from shared.storage.s3 import S3Storage
from shared.storage.s3_writer import PART
from tests.s3_server import SwiftServer
from tests.shared.conftest import Place


def fetch(url: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), {}


class TestLinks:
    def test_none_by_default(self, s3_place: Place) -> None:
        assert s3_place.open().link("a.jpg", filename="dog.jpg", inline=True) is None

    def test_folder_has_none(self, folder_place: Place) -> None:
        assert folder_place.open(s3_presigned_links=True).link("a.jpg", filename="dog.jpg", inline=True) is None

    def test_link(self, s3_place: Place) -> None:
        # two names of one host: the link is signed for the one that the browser knows
        public = s3_place.settings["s3_endpoint_url"].replace("127.0.0.1", "localhost")
        store = s3_place.open(s3_presigned_links=True, s3_public_endpoint_url=public)
        store.prepare()
        store.put("results/x/annotated.jpg", b"a picture")
        link = store.link("results/x/annotated.jpg", filename="Hündin 1.jpg", inline=False)
        assert link is not None
        assert link.startswith(public + "/")
        status, body, headers = fetch(link)
        assert (status, body) == (200, b"a picture")
        assert headers["content-type"] == "image/jpeg"
        assert headers["content-disposition"].startswith('attachment; filename="H_ndin 1.jpg"')

    def test_without_a_public_address(self, swift_place: Place) -> None:
        store = swift_place.open(s3_presigned_links=True)
        store.prepare()
        store.put("a.jpg", b"a picture")
        link = store.link("a.jpg", filename="a.jpg", inline=True)
        assert link is not None
        assert fetch(link)[:2] == (200, b"a picture")

    def test_tampered(self, swift_place: Place) -> None:
        store = swift_place.open(s3_presigned_links=True)
        store.prepare()
        for key in ("results/x/annotated.jpg", "results/y/annotated.jpg"):
            store.put(key, b"a picture")
        link = store.link("results/x/annotated.jpg", filename="a.jpg", inline=True)
        assert link is not None
        assert fetch(link)[0] == HTTPStatus.OK
        base = swift_place.settings["s3_endpoint_url"]
        for tampered in (
            link.replace("/x/", "/y/"),
            link.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
            link.replace("inline", "attachment"),
            link[:-1] + ("0" if link[-1] != "0" else "1"),
            link.replace(base, base.replace("127.0.0.1", "localhost")),
            link.partition("?")[0],
        ):
            assert tampered != link
            assert fetch(tampered)[0] in (HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST), tampered

    def test_expired(self, swift_place: Place) -> None:
        store = swift_place.open(s3_presigned_links=True, s3_presign_ttl=1)
        store.prepare()
        store.put("a.jpg", b"a picture")
        link = store.link("a.jpg", filename="a.jpg", inline=True)
        assert link is not None
        assert fetch(link)[0] == HTTPStatus.OK
        time.sleep(2.1)
        assert fetch(link)[0] == HTTPStatus.FORBIDDEN


class TestBuckets:
    @pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
    def test_made_in_its_region(self, moto_server: str, region: str) -> None:
        bucket = f"in-{region}"
        store = open_storage(Settings(storage_url=f"s3://{bucket}", s3_endpoint_url=moto_server, s3_region=region))
        store.prepare()
        store.check()
        client = boto3.client("s3", endpoint_url=moto_server, region_name=region)
        found = client.get_bucket_location(Bucket=bucket)["LocationConstraint"]
        assert found == (None if region == "us-east-1" else region)

    def test_prefixes_keep_apart(self, s3_place: Place) -> None:
        url = s3_place.settings["storage_url"].removesuffix("/a/prefix")
        stores = [s3_place.open(storage_url=url + prefix) for prefix in ("/a", "/ab", "/a/b")]
        stores[0].prepare()
        for number, store in enumerate(stores):
            store.put("x/y.bin", bytes(number))
        assert [stat.key for stat in stores[0].list("")] == ["b/x/y.bin", "x/y.bin"]
        assert [stat.key for stat in stores[1].list("")] == ["x/y.bin"]
        assert stores[0].delete_prefix("x/") == 1
        assert stores[2].get("x/y.bin") == bytes(2)

    def test_thousands_of_objects(self, moto_server: str) -> None:
        store = open_storage(Settings(storage_url="s3://thousands/p", s3_endpoint_url=moto_server))
        store.prepare()
        keys = [f"results/{number:04}/a.json" for number in range(1_005)]
        memory = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
        for key in [*keys, "resultsother/a.json"]:
            memory.put_object("thousands", "p/" + key, b"{}")
        assert [stat.key for stat in store.list("results/")] == keys
        assert store.delete_prefix("results/") == 1_005
        assert [stat.key for stat in store.list("")] == ["resultsother/a.json"]

    def test_bucket_that_is_not_there(self, s3_place: Place, caplog: pytest.LogCaptureFixture) -> None:
        store = s3_place.open()
        calls: list[Callable[[], object]] = [
            store.check, lambda: store.put("a.bin", b"x"), lambda: store.get("a.bin"), lambda: list(store.list("")),
            lambda: store.put("a.bin", bytes(PART + 1)),
        ]  # fmt: skip
        for call in calls:
            caplog.clear()
            with pytest.raises(PublicError) as caught:
                call()
            assert caught.value.code == "storage_down"
            assert not isinstance(caught.value, TransientError)
            assert "NoSuchBucket" in caplog.text

    @pytest.mark.parametrize(
        ("key_id", "secret"), [(SwiftServer.access_key, "wrong-secret"), ("nobody", "testing-secret")]
    )
    def test_wrong_credentials(
        self,
        swift_place: Place,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        key_id: str,
        secret: str,
    ) -> None:
        swift_place.open().prepare()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        store = swift_place.open()
        calls: list[Callable[[], object]] = [
            store.prepare, store.check, lambda: store.put("a.bin", b"x"), lambda: store.get("a.bin"),
        ]  # fmt: skip
        for call in calls:
            caplog.clear()
            with pytest.raises(PublicError) as caught:
                call()
            assert caught.value.code == "storage_down"
            assert not isinstance(caught.value, TransientError)
            own = [record.getMessage() for record in caplog.records if record.name.startswith("shared")]
            assert any("SignatureDoesNotMatch" in line for line in own)
            shown = "".join([*own, str(caught.value)])
            assert secret not in shown
            assert swift_place.settings["s3_endpoint_url"] not in str(caught.value)

    def test_no_credentials(self, swift_place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(PublicError, match="set up"):
            swift_place.open().check()


class TestRestart:
    def test_data_survive(self, swift_place: Place, swift_server: SwiftServer) -> None:
        store = swift_place.open()
        store.prepare()
        data = bytes(range(256)) * 40_000
        store.put("a/b.bin", data)
        swift_server.stop()
        try:
            start = time.monotonic()
            with pytest.raises(TransientError):
                store.get("a/b.bin")
            with pytest.raises(TransientError):
                store.put("c.bin", b"x")
            assert time.monotonic() - start < 15
        finally:
            swift_server.start()
        assert store.get("a/b.bin") == data  # the very same clients
        store.put("c.bin", b"x")

    def test_server_goes_away_between_parts(self, swift_place: Place, swift_server: SwiftServer) -> None:
        store = swift_place.open()
        store.prepare()
        writer = store.writer("large.bin")
        writer.write(bytes(PART + 1))
        swift_server.stop()
        try:
            with pytest.raises(TransientError):
                writer.write(bytes(2 * PART))
            writer.abort()
        finally:
            swift_server.start()
        assert store.stat("large.bin") is None
        with store.writer("large.bin") as writer:
            writer.write(bytes(PART + 1))
        assert store.get("large.bin") == bytes(PART + 1)


class Scripted(ThreadingHTTPServer):
    """Answers every request alike, wrongly."""

    daemon_threads = True

    def __init__(self, status: int, code: str, *, body: bytes = b"", length: int | None = None) -> None:
        self.status = status
        self.body = body or f"<Error><Code>{code}</Code><Message>secret words</Message></Error>".encode()
        self.length = length or len(self.body)
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"  # answers `Expect: 100-continue`, for which boto3 waits a second
    HEADERS: ClassVar = {"ETag": '"x"', "Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT", "Content-Type": "image/png"}

    def answer(self) -> None:
        self.server.requests.append(self.command)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(self.server.status)
        for name, value in self.HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(self.server.length))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self.server.body)
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def store_at(url: str) -> S3Storage:
    store = open_storage(Settings(storage_url="s3://bucket", s3_endpoint_url=url))
    assert isinstance(store, S3Storage)
    return store


def every_call(store: Storage) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "put", lambda: store.put("a.bin", b"x")
    yield "put large", lambda: store.put("a.bin", bytes(PART + 1))
    yield "get", lambda: store.get("a.bin")
    yield "stat", lambda: store.stat("a.bin")
    yield "list", lambda: list(store.list(""))
    yield "delete", lambda: store.delete("a.bin")
    yield "delete_prefix", lambda: store.delete_prefix("a/")
    yield "check", store.check
    yield "prepare", store.prepare


class TestFaults:
    @pytest.fixture
    def _no_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """boto3 tries again at once."""
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time))

    @pytest.mark.usefixtures("_no_pauses")
    @pytest.mark.parametrize(
        ("status", "code", "public", "transient"),
        [
            (500, "InternalError", "storage_down", True),
            (503, "SlowDown", "storage_down", True),
            (503, "ServiceUnavailable", "storage_down", True),
            (429, "TooManyRequests", "storage_down", True),
            (507, "XMinioStorageFull", "storage_full", False),
            (403, "QuotaExceeded", "storage_full", False),
            (403, "AccessDenied", "storage_down", False),
            (400, "InvalidRequest", "storage_down", False),
        ],
    )
    def test_answers(
        self, caplog: pytest.LogCaptureFixture, status: int, code: str, public: str, transient: bool
    ) -> None:
        with Scripted(status, code) as server:
            store = store_at(server.url)
            for name, call in every_call(store):
                if name in ("stat", "check", "prepare") and public == "storage_full":
                    continue  # a HEAD has no code
                caplog.clear()
                with pytest.raises(PublicError) as caught:
                    call()
                assert caught.value.code == public, name
                assert isinstance(caught.value, TransientError) is transient, name
                assert "secret words" not in str(caught.value)
                assert caplog.records[-1].levelno >= logging.WARNING
                if name != "stat":
                    assert code in caplog.text or (status >= 500 and name in ("check", "prepare")), name

    @pytest.mark.usefixtures("_no_pauses")
    def test_transient_ones_are_tried_again(self) -> None:
        with Scripted(503, "SlowDown") as server:
            with pytest.raises(TransientError):
                store_at(server.url).put("a.bin", b"x")
            assert server.requests == ["PUT"] * 3

    def test_ours_are_not(self) -> None:
        with Scripted(403, "AccessDenied") as server:
            with pytest.raises(PublicError):
                store_at(server.url).put("a.bin", b"x")
            assert server.requests == ["PUT"]

    def test_nobody_listens(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            store = store_at(f"http://127.0.0.1:{taken.getsockname()[1]}")
            for name, call in every_call(store):
                start = time.monotonic()
                with pytest.raises(TransientError):
                    call()
                assert time.monotonic() - start < (2.5 if name == "check" else 12), name

    def test_check_of_a_server_that_never_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            store = store_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
            store._clients.probe  # noqa: B018 - boto3's own start is not what is timed
            start = time.monotonic()
            with pytest.raises(TransientError):
                store.check()
            assert time.monotonic() - start < 2.5

    def test_host_without_an_address(self) -> None:
        with pytest.raises(TransientError):
            store_at("http://nowhere.invalid:9000").check()

    def test_answer_that_breaks_off(self) -> None:
        with Scripted(200, "", body=b"half", length=8) as server:
            store = store_at(server.url)
            with store.open("a.png") as blob:
                assert blob.length == 8
                with pytest.raises(TransientError):
                    blob.read()

    def test_no_object_is_not_a_fault(self) -> None:
        with Scripted(404, "NoSuchKey") as server:
            store = store_at(server.url)
            assert store.stat("a.bin") is None
            with pytest.raises(MissingObjectError):
                store.get("a.bin")
            store.delete("a.bin")
            assert set(server.requests) == {"HEAD", "GET", "DELETE"}
