import pytest

from shared.errors import BadInputError
from worker.streams.relay import Messages

REPLY = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nv=0\r\n"
MEDIA = b"$\x00\x00\x06RTSP/1"


def test_what_is_harmless_is_passed_on_whole_however_it_comes() -> None:
    data = REPLY + MEDIA + MEDIA + REPLY
    for size in (1, 7, len(data)):
        messages = Messages()
        assert b"".join(messages.add(data[place : place + size]) for place in range(0, len(data), size)) == data


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"RTSP/1.0 302 Found\r\nLocation: rtsp://10.0.0.1/\r\n\r\n", "url_refused"),
        (b"RTSP/1.0  301 Moved\r\nlocation: rtsp://10.0.0.1/\r\n\r\n", "url_refused"),
        (b"REDIRECT rtsp://cam/ RTSP/1.0\r\nLocation: rtsp://10.0.0.1/\r\n\r\n", "url_refused"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "url_failed"),
        (b"x" * 70_000, "url_failed"),
    ],
)
def test_what_leads_elsewhere_or_is_no_rtsp_is_not_passed_on(data: bytes, code: str) -> None:
    messages = Messages()
    assert messages.add(MEDIA) == MEDIA
    with pytest.raises(BadInputError) as caught:
        messages.add(REPLY + data)
    assert caught.value.code == code
