import pytest

from shared.errors import BadInputError
from worker.streams.playlist import Media, parse

URL = "https://tv.example/live/index.m3u8"


def test_segments_are_numbered_and_absolute() -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\na.ts\n#EXTINF:4,\n/b.ts?x=1\n"
    assert parse(text, URL) == Media(
        7, ("https://tv.example/live/a.ts", "https://tv.example/b.ts?x=1"), 4.0, ended=False, header=None
    )


def test_fragments_have_a_header_and_an_end() -> None:
    found = parse('#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\n1.m4s\n#EXT-X-ENDLIST', URL)
    assert isinstance(found, Media)
    assert (found.header, found.ended) == ("https://tv.example/live/init.mp4", True)


def test_the_best_variant_that_is_not_too_tall() -> None:
    variants = [(800, "640x360", "low"), (2500, "1280x720", "middle"), (6000, "1920x1080", "high")]
    lines = [f"#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION={size}\n{name}.m3u8" for rate, size, name in variants]
    assert parse("#EXTM3U\n" + "\n".join(lines), URL) == "https://tv.example/live/middle.m3u8"
    assert parse("#EXTM3U\n" + lines[2], URL) == "https://tv.example/live/high.m3u8"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1",
        '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="key"\n#EXTINF:1,\na.ts',
        "#EXTM3U\n#EXT-X-BYTERANGE:100@0\n#EXTINF:1,\na.ts",
    ],
)
def test_others_are_refused(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse(text, URL)
    assert caught.value.code == "bad_video"
