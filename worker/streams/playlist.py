"""As much of HLS (RFC 8216) as it takes to follow a live stream: which variant, which segments, in which order."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final
from urllib.parse import urljoin

from shared.errors import BadInputError

#: what an HLS playlist begins with
SIGN: Final = b"#EXTM3U"
#: height of a picture in pixels: a variant with more is taken only if all have
_TALL_ENOUGH: Final = 720
_ATTRIBUTE: Final = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True, slots=True)
class Media:
    """A playlist of segments.

    Args:
        sequence: number of the first segment.
        segments: their URLs.
        target: seconds that a segment lasts at most.
        ended: nothing follows.
        header: URL of what stands before the segments of fragmented MP4.
    """

    sequence: int
    segments: tuple[str, ...]
    target: float
    ended: bool
    header: str | None


def parse(text: str, url: str) -> str | Media:
    """Understand a playlist.

    Args:
        text: of it.
        url: where it is from: what it names may be relative to that.

    Returns:
        The segments, or of a list of variants the URL of the one to follow.

    Raises:
        BadInputError: `bad_video`: it is none, or of a kind that is not followed.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].startswith(SIGN.decode()):
        raise BadInputError("bad_video", "The playlist of the stream is none.")
    if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        return urljoin(url, _variant(lines))
    return _media(lines, url)


def _variant(lines: list[str]) -> str:
    found: list[tuple[bool, int, str]] = []
    for line, following in pairwise(lines):
        if not line.startswith("#EXT-X-STREAM-INF") or following.startswith("#"):
            continue
        attributes = _attributes(line)
        bandwidth = attributes.get("BANDWIDTH", "")
        height = attributes.get("RESOLUTION", "").lower().rpartition("x")[2]
        too_tall = height.isdecimal() and int(height) > _TALL_ENOUGH
        rate = int(bandwidth) if bandwidth.isdecimal() else 0
        # the best that is not too tall, else the smallest of those that are
        found.append((not too_tall, rate if not too_tall else -rate, following))
    if not found:
        raise BadInputError("bad_video", "The playlist of the stream names no variant.")
    return max(found)[2]


def _media(lines: list[str], url: str) -> Media:
    sequence, target, ended = 0, 6.0, False
    header: str | None = None
    segments: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        if not line.startswith("#"):
            segments.append(urljoin(url, line))
        elif name == "#EXT-X-MEDIA-SEQUENCE" and value.isdecimal():
            sequence = int(value)
        elif name == "#EXT-X-TARGETDURATION" and value.isdecimal():
            target = min(60.0, max(1.0, float(value)))
        elif name == "#EXT-X-ENDLIST":
            ended = True
        elif name == "#EXT-X-KEY" and _attributes(line).get("METHOD") != "NONE":
            raise BadInputError("bad_video", "The stream is encrypted.")
        elif name == "#EXT-X-MAP":
            attributes = _attributes(line)
            if "BYTERANGE" in attributes:
                raise BadInputError("bad_video", "The stream is of a kind that is not followed: ranges of bytes.")
            header = urljoin(url, attributes.get("URI", ""))
        elif name == "#EXT-X-BYTERANGE":
            raise BadInputError("bad_video", "The stream is of a kind that is not followed: ranges of bytes.")
    return Media(sequence, tuple(segments), target, ended, header)


def _attributes(line: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}
