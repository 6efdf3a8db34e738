from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from shared.errors import BadInputError
from shared.settings import Settings
from shared.stream_urls import parse_hosts, parse_stream_url, stream_client


@pytest.mark.parametrize(
    ("url", "public", "port", "user"),
    [
        ("rtsp://cam.lan/a", "rtsp://cam.lan/a", 554, ("", "")),
        ("rtsps://anna:s%40cret@cam.lan:8322/a?token=t", "rtsps://cam.lan:8322/a", 8322, ("anna", "s@cret")),
        ("http://a@b:p@[2001:db8::1]:8080/x.m3u8#f", "http://[2001:db8::1]:8080/x.m3u8", 8080, ("a@b", "p")),
    ],
)
def test_what_is_secret_in_a_url_is_told_from_the_rest(url: str, public: str, port: int, user: tuple[str, str]) -> None:
    found = parse_stream_url(url)
    assert (found.public, found.port, (found.user, found.password)) == (public, port, user)
    assert "cret" not in found.url


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "concat:http://a/b|file:///etc/passwd",
        "tcp://cam.lan:554",
        "rtsp://cam.lan:22/a",
        "http://cam.lan:25/",
        "rtsp:///a",
        "http://[::1",
        "http://cam.lan/a b",
        "",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_stream_url(url)
    assert caught.value.code == "url_refused"


ADDRESSES = {"cam.lan": ["192.168.7.9"], "www": ["93.184.216.34"], "both": ["93.184.216.34", "10.0.0.1"]}


@pytest.mark.parametrize(
    ("listed", "host", "allowed"),
    [
        ("", "www", True),
        ("", "cam.lan", False),
        ("cam.lan", "cam.lan", True),
        ("CAM.lan , x", "cam.lan", True),
        ("192.168.7.0/24", "cam.lan", True),
        ("192.168.7.0/30", "cam.lan", False),
        ("cam.lan", "both", False),
        ("192.168.7.0/24", "::ffff:192.168.7.9", True),
        ("192.168.7.0/24", "::ffff:10.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_private_addresses_only_where_an_operator_lists_them(listed: str, host: str, allowed: bool) -> None:
    client = stream_client(listed, lambda name, _port: ADDRESSES.get(name, [name]))
    if allowed:
        assert client.addresses(host, 554)
    else:
        with pytest.raises(BadInputError) as caught:
            client.addresses(host, 554)
        assert caught.value.code == "url_refused"


def test_a_list_that_is_none_is_refused_at_start() -> None:
    assert parse_hosts("")[0] == frozenset()
    with pytest.raises(ValidationError, match="STREAM_HOSTS"):
        Settings(stream_hosts="192.168.7.1/24")
    assert ip_address("10.0.0.5") in parse_hosts("10.0.0.5")[1][0]
