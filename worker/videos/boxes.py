"""What the index of an MP4 promises, looked at before FFmpeg believes it.

FFmpeg takes memory for each sample that the header of a MOV or MP4 file claims (about 60 bytes), before it reads one. A
few numbers in a file of two kilobytes can claim millions. So the numbers are added up first.

FFmpeg looks for the boxes that matter wherever it finds them, also where no box should hold them. Therefore they are
searched for by name in everything but the media data, not only where they belong. Where they belong says only which
tracks are plain sound (PCM), whose samples FFmpeg does not index one by one.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise, takewhile
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from shared.errors import BadInputError

#: samples of sound, subtitles and the like in a file, beside its frames: hours of several tracks, 250 MB of index
MOST_OTHER_SAMPLES: Final = 4_000_000
#: boxes at the top of a file: each of hours of fragments has two or three
_MOST_BOXES: Final = 1_000_000
#: FFmpeg takes the first one
_MOST_HEADERS: Final = 8
#: boxes looked at to find the tracks of a header, and as many in each
_MOST_INNER: Final = 500
#: runs of chunks of plain sound
_MOST_RUNS: Final = 200_000
#: samples of plain sound that FFmpeg indexes as one, at least
_SOUND_TOGETHER: Final = 512
_PIECE: Final = 1024 * 1024
#: what follows a name and is looked at
_TAIL: Final = 24

#: one of these at the top makes FFmpeg take a file for one of this family, if it is among the first bytes
_FAMILY: Final = frozenset(b"ftyp moov moof mdat wide ediw free skip junk pnot pict udta uuid prfl styp sidx".split())
_FIRST_BYTES: Final = 16 * 1024 * 1024
_SAMPLE_COUNTS: Final = (b"stsz", b"stz2")
_NAMES: Final = (*_SAMPLE_COUNTS, b"trun", b"elst", b"stts", b"stsc", b"hdlr", b"cmov", b"sidx")
_FRAGMENT: Final = (b"moof", b"tfhd", b"trun")
#: kinds of a track for which a sample is a sample, in `hdlr`
_NOT_SOUND: Final = frozenset({b"vide", b"subp", b"clcp"})


class _Box(NamedTuple):
    name: bytes
    at: int
    """where it begins"""
    start: int
    """where its content does"""
    end: int


class _Track(NamedTuple):
    kind: bytes
    samples: int
    indexed: int
    """entries that FFmpeg makes of them"""


def check_boxes(file: Path | BinaryIO, max_frames: int) -> None:
    """Refuse a MOV or MP4 whose index would not fit into memory; of any other file nothing is said.

    Args:
        file: the video.
        max_frames: of one video track.

    Raises:
        BadInputError: `too_long`; `bad_video`: the header is compressed, or the file has no end of boxes.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            _check(opened, max_frames)
    else:
        _check(file, max_frames)


def _check(file: BinaryIO, max_frames: int) -> None:
    end = file.seek(0, 2)
    if not _is_family(file, end):
        return
    found, headers, media = _Found(), [], []
    for number, box in enumerate(_boxes(file, 0, end)):
        if number >= _MOST_BOXES:
            raise BadInputError("bad_video", "The video consists of too many pieces.")
        if box.name == b"mdat":
            media.append(box)
            continue
        found.search(file, box, _NAMES)
        if box.name == b"moov":
            headers.append(box)
    if found.names[b"cmov"]:
        # nobody has written a compressed header for twenty years, and what it promises is seen only once it is unpacked
        raise BadInputError("bad_video", "The video has a compressed header, which is not taken.")
    if len(headers) > _MOST_HEADERS:
        raise BadInputError("bad_video", "The video has more than one header.")
    tracks = [track for header in headers for track in _tracks(file, header)]
    if any(track.kind == b"vide" and track.samples > max_frames for track in tracks):
        raise BadInputError("too_long", f"The video has more than {max_frames} frames, which are the limit.")
    entries = found.samples + found.fragments
    if found.is_as_by(tracks):
        entries += sum(track.indexed - track.samples for track in tracks)
    if found.names[b"sidx"]:  # it may lead FFmpeg to fragments that lie in the media data
        hidden = _Found()
        for box in media:
            hidden.search(file, box, _FRAGMENT)
        if all(hidden.names[name] for name in _FRAGMENT):  # by chance there are hardly ever all of them
            entries += hidden.fragments
    # FFmpeg repeats the samples for each entry of an edit list
    if entries * max(1, found.edits) > max_frames + MOST_OTHER_SAMPLES:
        raise BadInputError("too_long", "The video has more samples than there is room for in memory.")


def _is_family(file: BinaryIO, end: int) -> bool:
    early = takewhile(lambda box: box.at < _FIRST_BYTES, islice(_boxes(file, 0, end), _MOST_BOXES))
    return any(box.name in _FAMILY for box in early)


class _Found:
    """What is to be found by name, wherever it stands."""

    def __init__(self) -> None:
        self.names: Counter[bytes] = Counter()
        self.samples = 0
        self.fragments = 0
        """samples of fragments"""
        self.edits = 0
        """entries of the longest edit list"""
        self._not_sound = 0

    def search(self, file: BinaryIO, box: _Box, names: tuple[bytes, ...]) -> None:
        file.seek(box.at)
        # FFmpeg reads on where a box ends before its numbers do
        kept, left = b"", box.end + _TAIL - box.at
        while left > 0:
            piece = file.read(min(_PIECE, left))
            left = left - len(piece) if piece else 0
            data = kept + piece
            # a name near the end waits for what follows it
            most = len(data) - (_TAIL if left else 0)
            for name in names:
                at = data.find(name, 0, most)
                while at >= 0:
                    self._take(name, data[at + 4 : at + _TAIL].ljust(_TAIL, b"\0"))
                    at = data.find(name, at + 1, most)
            kept = data[max(0, most - 3) :] if left else b""

    def _take(self, name: bytes, tail: bytes) -> None:
        self.names[name] += 1
        first, second = struct.unpack_from(">II", tail, 4)
        if name in _SAMPLE_COUNTS:
            self.samples += second
        elif name == b"trun":
            self.fragments += first
        elif name == b"elst":
            self.edits = max(self.edits, first)
        elif name == b"hdlr":
            self._not_sound += tail[8:12] in _NOT_SOUND

    def is_as_by(self, tracks: list[_Track]) -> bool:
        """Whether all is where it belongs, and nothing anywhere else: only then FFmpeg sees the same tracks."""
        counts = {sum(self.names[name] for name in names) for names in (_SAMPLE_COUNTS, (b"stts",), (b"stsc",))}
        return counts == {len(tracks)} and self._not_sound == sum(track.kind in _NOT_SOUND for track in tracks)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """The boxes of a stretch, by their headers; ends where one makes no sense."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        size, name = struct.unpack_from(">I4s", header)
        content = 8
        if size == 1 and len(header) == 16:
            size, content = struct.unpack_from(">Q", header, 8)[0], 16
        elif size == 0:
            size = end - start
        if size < content:
            return
        yield _Box(name, start, start + content, min(start + size, end))
        start += size


def _tracks(file: BinaryIO, header: _Box) -> Iterator[_Track]:
    """The tracks of a header that have one of each table."""
    for trak in islice(_boxes(file, header.start, header.end), _MOST_INNER):
        if trak.name != b"trak":
            continue
        inside = _inside(file, trak)
        sizes = [box for name in _SAMPLE_COUNTS for box in inside.get(name, [])]
        kinds = inside.get(b"hdlr", [])
        if not kinds or any(len(boxes) != 1 for boxes in (sizes, inside.get(b"stts", []), inside.get(b"stsc", []))):
            continue
        kind = _read(file, kinds[0], 12)[8:12]
        _, _, samples = struct.unpack(">III", _read(file, sizes[0], 12))
        chunks = [*inside.get(b"stco", []), *inside.get(b"co64", [])]
        indexed = samples
        if kind == b"soun" and len(chunks) == 1 and _is_plain(file, inside[b"stts"][0]):
            indexed = _runs(file, inside[b"stsc"][0], chunks[0], samples)
        yield _Track(kind, samples, indexed)


def _inside(file: BinaryIO, trak: _Box) -> dict[bytes, list[_Box]]:
    """The boxes of a track that matter, each where it belongs."""
    found: dict[bytes, list[_Box]] = {}
    waiting, seen = [trak], 0
    while waiting:
        outer = waiting.pop()
        for box in _boxes(file, outer.start, outer.end):
            if (seen := seen + 1) > _MOST_INNER:
                return {}
            if box.name in (b"mdia", b"minf", b"stbl"):
                waiting.append(box)
            else:
                found.setdefault(box.name, []).append(box)
    return found


def _is_plain(file: BinaryIO, stts: _Box) -> bool:
    """Whether each sample lasts one tick, by one entry: FFmpeg then takes chunks for what it indexes."""
    return _read(file, stts, 16)[4:8] == _read(file, stts, 16)[12:16] == b"\0\0\0\1"


def _runs(file: BinaryIO, stsc: _Box, offsets: _Box, samples: int) -> int:
    """Entries that FFmpeg makes of plain sound, about; `samples` if the tables are odd."""
    _, count = struct.unpack(">II", _read(file, stsc, 8))
    _, chunks = struct.unpack(">II", _read(file, offsets, 8))
    if count > min(_MOST_RUNS, (stsc.end - stsc.start - 8) // 12) or 4 * chunks > offsets.end - offsets.start:
        return samples
    file.seek(stsc.start + 8)
    table = list(struct.iter_unpack(">III", file.read(12 * count)))
    firsts = [first for first, _, _ in table] + [chunks + 1]
    if firsts[0] != 1 or any(after <= before for before, after in pairwise(firsts)):
        return samples
    return sum(
        (after - first) * -(-together // _SOUND_TOGETHER)
        for (first, together, _), after in zip(table, firsts[1:], strict=True)
    )


def _read(file: BinaryIO, box: _Box, count: int) -> bytes:
    """The first bytes of a box, with zeros for what is not there."""
    file.seek(box.start)
    return file.read(min(count, box.end - box.start)).ljust(count, b"\0")
