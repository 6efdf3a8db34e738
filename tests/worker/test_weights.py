"""Fetching model files, from a real HTTP server and from a folder."""

import hashlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from shared.catalog import load_catalog
from shared.entries import ClassifierEntry, DarknetEntry, MaskRcnnEntry
from shared.settings import ROOT, Settings
from worker import weights
from worker.weights import WeightsError, fetch_model, main

CONTENT = {"a.cfg": b"[net]\n", "a.weights": bytes(range(256)) * 4000, "a.names": b"thing\n"}
SITE = "https://models.test"


@dataclass
class Site:
    """A web server whose faults can be chosen."""

    port: int = 0
    #: of each request: path and Range header
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    #: bytes after which each of the next answers breaks off
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int | None = None
    content: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))

    def ranges_of(self, name: str) -> list[str | None]:
        return [asked for path, asked in self.requests if path == f"/{name}"]


def handler_of(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            site.requests.append((self.path, asked))
            content = site.content.get(self.path.removeprefix("/"))
            if site.status or content is None:
                self.send_error(site.status or 404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and site.ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if site.cuts and len(content) > 1000:
                body = body[: site.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(served)) as server:
        served.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield served
        server.shutdown()
        thread.join()


class Detour(HTTPAdapter):
    """Takes what is meant for https://models.test to a local server, so that the code needs no exception for tests."""

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        url = request.url or ""
        request.url = url.replace(SITE, f"http://127.0.0.1:{self._port}")
        try:
            response = super().send(request, *args, **options)
        finally:
            request.url = url
        response.url = url
        return response


@pytest.fixture
def session(site: Site, monkeypatch: pytest.MonkeyPatch) -> requests.Session:
    monkeypatch.setattr(weights, "RETRY_WAIT", 0.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    made = requests.Session()
    made.mount(SITE, Detour(site.port))
    return made


def model(**changes: Mapping[str, object]) -> DarknetEntry:
    def file(name: str) -> dict[str, object]:
        content = CONTENT[name]
        stated: dict[str, object] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return {"name": name, "url": f"{SITE}/{name}", **stated, **changes.get(name, {})}

    files = {"config": file("a.cfg"), "weights": file("a.weights"), "classes": file("a.names")}
    return DarknetEntry.model_validate({"name": "a", "family": "darknet", "title": "A", **files})


def assert_complete(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT


def test_all_files_are_fetched_once(tmp_path: Path, site: Site, session: requests.Session) -> None:
    folder = tmp_path / "new" / "weights"
    assert [path.name for path in fetch_model(model(), folder, session=session)] == list(CONTENT)
    assert_complete(folder)
    assert fetch_model(model(), folder, session=session) == []
    assert len(site.requests) == 3


def test_only_what_is_missing_or_wrong(tmp_path: Path, site: Site, session: requests.Session) -> None:
    (tmp_path / "a.cfg").write_bytes(CONTENT["a.cfg"])
    (tmp_path / "a.names").write_bytes(b"thong\n")
    assert [path.name for path in fetch_model(model(), tmp_path, session=session)] == ["a.weights", "a.names"]
    assert_complete(tmp_path)


def test_an_interrupted_download_goes_on(tmp_path: Path, site: Site, session: requests.Session) -> None:
    (tmp_path / "a.weights.part").write_bytes(CONTENT["a.weights"][:5000])
    fetch_model(model(), tmp_path, session=session)
    assert_complete(tmp_path)
    assert site.ranges_of("a.weights") == ["bytes=5000-"]


def test_a_server_without_ranges(tmp_path: Path, site: Site, session: requests.Session) -> None:
    site.ranges = False
    (tmp_path / "a.weights.part").write_bytes(b"something else")
    fetch_model(model(), tmp_path, session=session)
    assert_complete(tmp_path)


def test_a_complete_part_is_not_asked_for(tmp_path: Path, site: Site, session: requests.Session) -> None:
    (tmp_path / "a.weights.part").write_bytes(CONTENT["a.weights"])
    fetch_model(model(), tmp_path, session=session)
    assert_complete(tmp_path)
    assert site.ranges_of("a.weights") == []


@pytest.mark.parametrize("extra", [0, 7])
def test_a_part_at_the_end_of_a_file_of_unknown_size(
    tmp_path: Path, site: Site, session: requests.Session, extra: int
) -> None:
    """The server says 416: nothing is left, or the part is longer than the file and no part of it."""
    (tmp_path / "a.weights.part").write_bytes(CONTENT["a.weights"] + bytes(extra))
    fetch_model(model(**{"a.weights": {"size": None}}), tmp_path, session=session)
    assert_complete(tmp_path)


@pytest.mark.parametrize("length", [5000, len(CONTENT["a.weights"]), len(CONTENT["a.weights"]) + 1])
def test_a_part_of_another_file_is_thrown_away(
    tmp_path: Path, site: Site, session: requests.Session, length: int
) -> None:
    (tmp_path / "a.weights.part").write_bytes(b"x" * length)
    fetch_model(model(), tmp_path, session=session)
    assert_complete(tmp_path)
    assert site.ranges_of("a.weights")[-1] is None


def test_a_connection_that_breaks_often(tmp_path: Path, site: Site, session: requests.Session) -> None:
    site.cuts = [100_000] * 8
    fetch_model(model(), tmp_path, session=session)
    assert_complete(tmp_path)
    asked = site.ranges_of("a.weights")
    assert asked[0] is None
    assert len(asked) == 9
    assert all(each and int(each[6:-1]) > 0 for each in asked[1:])


def test_a_connection_that_stays_broken(tmp_path: Path, site: Site, session: requests.Session) -> None:
    site.cuts = [100_000, *[0] * 20]
    with pytest.raises(WeightsError, match=r"cannot get a\.weights: .* cannot be reached"):
        fetch_model(model(), tmp_path, session=session)
    assert (tmp_path / "a.weights.part").stat().st_size == 100_000 // weights.CHUNK * weights.CHUNK
    site.cuts = []
    fetch_model(model(), tmp_path, session=session)
    assert_complete(tmp_path)


def test_a_wrong_file_is_not_kept(tmp_path: Path, site: Site, session: requests.Session) -> None:
    site.content["a.weights"] = CONTENT["a.weights"][::-1]
    with pytest.raises(WeightsError, match="its sha256 is"):
        fetch_model(model(), tmp_path, session=session)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cfg"]


def test_a_file_of_which_only_the_md5_is_known(tmp_path: Path, site: Site, session: requests.Session) -> None:
    stated = {"sha256": None, "md5": hashlib.md5(CONTENT["a.weights"]).hexdigest()}
    fetch_model(model(**{"a.weights": stated}), tmp_path, session=session)
    assert_complete(tmp_path)
    (tmp_path / "a.weights").unlink()
    site.content["a.weights"] = CONTENT["a.weights"][::-1]
    with pytest.raises(WeightsError, match=f"its md5 is .* instead of {stated['md5']}"):
        fetch_model(model(**{"a.weights": stated}), tmp_path, session=session)
    assert not (tmp_path / "a.weights").exists()


def test_a_page_instead_of_the_file(tmp_path: Path, site: Site, session: requests.Session) -> None:
    site.content["a.weights"] = b"<!DOCTYPE html>"
    with pytest.raises(WeightsError, match="it has 15 bytes instead of 1024000"):
        fetch_model(model(), tmp_path, session=session)
    assert not (tmp_path / "a.weights.part").exists()


def test_more_than_there_should_be(tmp_path: Path, site: Site, session: requests.Session) -> None:
    site.content["a.cfg"] = b"[net]\n" * 100_000
    with pytest.raises(WeightsError, match="sends more than the 6 bytes"):
        fetch_model(model(), tmp_path, session=session)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses(tmp_path: Path, site: Site, session: requests.Session, status: int) -> None:
    site.status = status
    with pytest.raises(WeightsError, match=f"https://models.test/a.cfg answers {status}"):
        fetch_model(model(), tmp_path, session=session)


def test_no_connection(tmp_path: Path, site: Site, session: requests.Session) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    session.mount(SITE, Detour(port))
    with pytest.raises(WeightsError) as error:
        fetch_model(model(), tmp_path / "w", session=session)
    assert str(error.value).splitlines() == [
        "a: cannot get a.cfg: https://models.test/a.cfg cannot be reached (no connection).",
        f"Set WEIGHTS_SOURCE to a folder that holds it, or put a.cfg, a.weights, a.names into {tmp_path / 'w'}.",
    ]


def test_a_redirect_to_an_address_without_encryption(tmp_path: Path, site: Site, session: requests.Session) -> None:
    class Downgrade(Detour):
        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            response = super().send(request, *args, **options)
            response.url = "http://models.test/a.cfg"
            return response

    session.mount(SITE, Downgrade(site.port))
    with pytest.raises(WeightsError, match="which is not encrypted"):
        fetch_model(model(), tmp_path, session=session)


def test_addresses_without_encryption_are_not_accepted() -> None:
    with pytest.raises(ValueError, match="url"):
        model(**{"a.cfg": {"url": "http://models.test/a.cfg"}})


def test_a_file_of_ones_own(tmp_path: Path, session: requests.Session) -> None:
    with pytest.raises(WeightsError, match=r"it is your own file\.\n.* put a\.cfg, a\.weights, a\.names into"):
        fetch_model(model(**{"a.cfg": {"url": None}}), tmp_path, session=session)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o400)
    return folder


def test_from_a_folder(tmp_path: Path, source: Path) -> None:
    assert len(fetch_model(model(), tmp_path / "w", source)) == 3
    assert_complete(tmp_path / "w")
    assert (tmp_path / "w" / "a.weights").stat().st_mode & 0o777 == 0o644


def test_a_wrong_file_in_the_folder(tmp_path: Path, source: Path) -> None:
    (source / "a.weights").chmod(0o600)
    (source / "a.weights").write_bytes(CONTENT["a.weights"][::-1])
    with pytest.raises(WeightsError, match="its sha256 is"):
        fetch_model(model(), tmp_path / "w", source)
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["a.cfg"]


def test_a_file_that_is_not_in_the_folder(tmp_path: Path, source: Path) -> None:
    (source / "a.names").unlink()
    with pytest.raises(WeightsError, match=r"cannot get a\.names: it is not in .*source\.\n.*or put a\.names into"):
        fetch_model(model(), tmp_path / "w", source)


# -- the command and the real catalogue


@pytest.fixture
def real(settings: Settings) -> Settings:
    return settings.model_copy(update={"catalog": ROOT / "weights" / "catalog.toml"})


def test_the_catalogue(data_dir: Path) -> None:
    catalog = load_catalog(ROOT / "weights" / "catalog.toml")
    assert catalog.default == "yolo-fastest-1.1-xl"
    darknet = {name for name, entry in catalog.models.items() if isinstance(entry, DarknetEntry)}
    assert darknet == {"yolov3", "yolov3-tiny", "yolov3-spp", "yolo-fastest-1.1-xl", "yolo-fastest-1.1", "person"}
    classifiers = {name for name, entry in catalog.models.items() if isinstance(entry, ClassifierEntry)}
    assert classifiers == {"mobilenet_v2", "resnet50", "nasnet_mobile"}
    outliners = {name for name, entry in catalog.models.items() if isinstance(entry, MaskRcnnEntry)}
    assert outliners == {"mask-rcnn-coco", "mask-rcnn-r50-fpn-3x", "person-masks"}
    for entry in catalog.models.values():
        if isinstance(entry, DarknetEntry):
            assert entry.resize == ("stretch" if "fastest" in entry.name else "letterbox")
        for file in entry.files:
            if entry.name in {"person", "person-masks"}:  # in the repository itself
                assert (file.size, file.sha256) == _size_and_hash(ROOT / "weights" / file.name)
                continue
            assert file.url
            assert file.url.endswith(f"/{file.name}")
            assert file.size
            local = data_dir / "weights" / file.name
            if local.exists():
                assert (file.size, file.sha256) == _size_and_hash(local)


def _size_and_hash(path: Path) -> tuple[int, str]:
    return path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_command(data_dir: Path, real: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    own = real.model_copy(update={"weights_source": data_dir / "weights"})
    assert main([], own) == 0
    assert main(["yolo-fastest-1.1-xl"], own) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "yolo-fastest-1.1-xl: fetched yolo-fastest-1.1-xl.cfg, yolo-fastest-1.1-xl.weights, coco.names",
        "yolo-fastest-1.1-xl: all there",
    ]
    assert main(["--list"], own) == 0
    listing = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "yolo-fastest-1.1-xl installed 3.7 MB Yolo-Fastest XL (default)" in listing
    assert any(line.startswith("yolov3 missing 248.0 MB") for line in listing)


def test_the_command_says_what_fails(data_dir: Path, real: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    own = real.model_copy(update={"weights_source": data_dir / "weights"})
    assert main(["--all"], own) == 1
    output = capsys.readouterr()
    assert "yolo-fastest-1.1: fetched" in output.out
    assert "yolov3: cannot get yolov3.weights: it is not in" in output.err
    assert "Traceback" not in output.err
    assert main(["what"], own) == 1
    assert "There is no model called 'what'. Choose one of:" in capsys.readouterr().err
    assert main([], own.model_copy(update={"catalog": data_dir / "no.toml"})) == 1
    assert "no.toml cannot be read" in capsys.readouterr().err


def test_a_full_disk_is_one_line(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(WeightsError, match="No space left on device"):
        fetch_model(model(), tmp_path / "w", source)
    assert list((tmp_path / "w").iterdir()) == []


SHIPPED = """
default = "far"
fallback = "near"
[models.far]
family = "darknet"
title = "Far"
config = {{ name = "far.cfg", url = "https://models.test/far.cfg" }}
weights = {{ name = "far.weights" }}
classes = {{ name = "far.names" }}
[models.near]
family = "darknet"
title = "Near"
config = {{ name = "near.cfg" }}
weights = {{ name = "near.weights", sha256 = "{sha256}" }}
classes = {{ name = "near.names" }}
"""


def test_what_ships_with_the_project_stands_in(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without internet the default cannot be had; the command still succeeds, as the service works."""
    catalog = tmp_path / "shipped" / "catalog.toml"
    catalog.parent.mkdir()
    for name in ("near.cfg", "near.weights", "near.names"):
        (catalog.parent / name).write_text(name)
    catalog.write_text(SHIPPED.format(sha256=hashlib.sha256(b"near.weights").hexdigest()))
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    own = settings.model_copy(update={"catalog": catalog, "weights_source": nothing})
    assert main([], own) == 0
    assert sorted(path.name for path in own.weights_dir.iterdir()) == ["near.cfg", "near.names", "near.weights"]
    assert "Until then the model near is used" in capsys.readouterr().err
    assert main(["far"], own) == 1, "asked for by name, it is missed"
    (catalog.parent / "near.weights").write_text("broken")
    (own.weights_dir / "near.weights").unlink()
    assert main(["near"], own) == 1
    assert main([], own) == 1
