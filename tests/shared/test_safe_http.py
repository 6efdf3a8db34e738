import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from shared.errors import BadInputError
from shared.safe_http import LONGEST_URL, SafeClient, checked_url, is_public, resolve


class Site(http.server.ThreadingHTTPServer):
    """A web site of somebody else's. Paths have the behaviour of the same name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.ending = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave."""


class Page(http.server.BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        name, _, more = self.path.lstrip("/").partition("?")
        if name == "redirect":
            self.send_response(302)
            self.send_header("Location", more)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        elif name == "short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"too little")
            self.close_connection = True
        elif name == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self._drip()
        elif name == "drip-headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            self._drip()
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            for _ in range(10_000):
                self.wfile.write(b"\xff\xd8\xff\xe0" + b"\0" * 65_532)
        elif name == "rubbish":
            self.wfile.write(b"\0\1\2 no HTTP\r\n\r\n")
            self.close_connection = True
        else:
            body = b"hello world"
            self.send_response(404 if name == "missing" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append(("POST", body, dict(self.headers)))
        self.send_response(307 if "redirect" in self.path else 204)
        self.send_header("Location", f"{self.server.url}/elsewhere")
        self.end_headers()

    def _drip(self) -> None:
        while not self.server.ending.wait(0.1):
            self.wfile.write(b"x")
            self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.ending.set()
        server.shutdown()
        thread.join()


def anything(_address: object) -> bool:
    return True


def read(client: SafeClient, url: str, seconds: float = 5) -> bytes:
    with client.get(url, seconds) as (_, pieces):
        return b"".join(pieces)


def refused(do: Callable[[], object]) -> str:
    with pytest.raises(BadInputError) as caught:
        do()
    return caught.value.code


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0.0.0.0", "0.1.2.3",
        "169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "fe80::1",
        "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2002:7f00:1::", "2001:0:1::1", "64:ff9b::7f00:1",
        "64:ff9b:1::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1", "192.88.99.1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_internet(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "", "photo.jpg", "//example.com/x", "file:///etc/passwd", "ftp://example.com/x", "gopher://example.com:80/x",
        "http://", "http:///x", "http://user@example.com/", "http://user:pass@example.com/", "http://[::1/", "http://[fe80::1%25eth0]/",
        "http://example.com:99999/", "http://example.com:22/", "http://example.com:25/", "http://a b.example/",
        "http://example.com/\r\nX: y",
        "http://example.com/\x7f", "http://example.com/" + "x" * LONGEST_URL, "http://" + "a" * 70 + ".example/", "http://exa%6dple.com/",
    ],
)  # fmt: skip
def test_what_is_no_url_to_fetch(url: str) -> None:
    assert refused(lambda: checked_url(url)) == "url_refused"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_this_machine_is_never_asked_however_it_is_written(site: Site, host: str) -> None:
    code = refused(lambda: read(SafeClient(), f"http://{host}:{site.server_port}/"))
    assert code in ("url_refused", "url_failed")
    assert site.seen == []


def test_a_page_is_read(site: Site) -> None:
    client = SafeClient(anything)
    assert read(client, f"{site.url}/a photo.jpg?size=[1]".replace(" ", "%20")) == b"hello world"
    method, path, headers = site.seen[0]
    assert (method, path) == ("GET", "/a%20photo.jpg?size=[1]")
    assert headers["Host"] == f"127.0.0.1:{site.server_port}"
    assert not {"Cookie", "Authorization"} & set(headers)
    assert read(client, f"{site.url}/chunked") == b"hello world"
    assert read(client, f"{site.url}/ümläut") == b"hello world"
    assert refused(lambda: read(client, f"{site.url}/missing")) == "url_failed"


def test_a_name_is_resolved_once_and_just_that_address_connected_to(site: Site) -> None:
    """A name whose address changes between the look and the connection."""
    asked: list[str] = []

    def fickle(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    client = SafeClient(lambda address: str(address) == "127.0.0.1", fickle)
    assert read(client, f"http://photos.example:{site.server_port}/") == b"hello world"
    assert asked == ["photos.example"]
    assert site.seen[0][2]["Host"] == f"photos.example:{site.server_port}"
    assert refused(lambda: read(client, f"http://photos.example:{site.server_port}/")) == "url_refused"


def test_one_bad_address_among_good_ones_is_enough(site: Site) -> None:
    client = SafeClient(resolver=lambda *_: ["1.1.1.1", "127.0.0.1"])
    assert refused(lambda: read(client, f"http://photos.example:{site.server_port}/")) == "url_refused"


def test_each_redirect_is_looked_at(site: Site) -> None:
    def names(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "photos.example" else resolve(host, port)

    def only_the_first(address: object) -> bool:
        return str(address) == "127.0.0.1"

    client = SafeClient(only_the_first, names)
    base = f"http://photos.example:{site.server_port}"
    assert read(client, f"{base}/redirect?/page") == b"hello world"
    with client.get(f"{base}/redirect?{base}/redirect?/end.jpg", 5) as (url, pieces):
        assert (url, b"".join(pieces)) == (f"{base}/end.jpg", b"hello world")
    for target in (
        "http://127.0.0.2:8000/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "file:///etc/passwd",
        "//10.0.0.1/",
    ):
        assert refused(lambda target=target: read(client, f"{base}/redirect?{target}")) == "url_refused"  # type: ignore[misc]
    before = len(site.seen)
    endless = f"{base}/redirect?/redirect"
    site.seen.clear()
    assert before
    assert refused(lambda: read(client, endless + "?/redirect" * 9)) == "url_failed"
    assert len(site.seen) == 4


@pytest.mark.parametrize("path", ["drip", "drip-headers"])
def test_a_server_that_drips_is_left(site: Site, path: str) -> None:
    begin = time.monotonic()
    assert refused(lambda: read(SafeClient(anything), f"{site.url}/{path}", 1)) == "url_failed"
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("path", ["short", "rubbish"])
def test_answers_that_are_broken(site: Site, path: str) -> None:
    assert refused(lambda: read(SafeClient(anything), f"{site.url}/{path}")) == "url_failed"


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert refused(lambda: read(SafeClient(anything), f"http://127.0.0.1:{port}/")) == "url_failed"
    gone = SafeClient(anything, lambda *_: [])
    assert refused(lambda: read(gone, "http://photos.example/")) == "url_failed"


def test_proxies_of_the_environment_are_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert read(SafeClient(anything), f"{site.url}/") == b"hello world"


def test_certificates_are_checked(site: Site) -> None:
    """No TLS is spoken there at all, and none without a certificate that is known."""
    assert refused(lambda: read(SafeClient(anything), site.url.replace("http:", "https:"))) == "url_failed"
    context = SafeClient(anything)._tls or ssl.create_default_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_posting(site: Site) -> None:
    client = SafeClient(anything)
    assert client.post(f"{site.url}/hook", b'{"a": 1}', {"X-Signature": "s"}, 5) == 204
    assert client.post(f"{site.url}/redirect", b"again", {}, 5) == 307, "not followed"
    assert [(method, body) for method, body, _ in site.seen] == [("POST", '{"a": 1}'), ("POST", "again")]
    assert site.seen[0][2]["X-Signature"] == "s"
    assert refused(lambda: SafeClient().post(f"{site.url}/hook", b"", {}, 5)) == "url_refused"
