"""Headers that promise more than memory holds, made of small real files. FFmpeg opens none of them."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from shared.errors import BadInputError
from tests.worker.videos.synthetic import RATE, walk, write_video
from worker.videos import probing
from worker.videos.boxes import MOST_OTHER_SAMPLES, check_boxes
from worker.videos.limits import VideoLimits

MANY = 80_000_000
FRAMES = 500_000


def put(data: bytes, name: bytes, *values: tuple[int, int], last: bool = False) -> bytes:
    """The file with other numbers: (bytes after the box's name begins, number)."""
    changed = bytearray(data)
    at = data.rindex(name) if last else data.index(name)
    for offset, value in values:
        struct.pack_into(">I", changed, at + offset, value)
    return bytes(changed)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def write_fragments(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for picture in walk(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_plain_sound(path: Path) -> Path:
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("libx264", rate=10)
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        assert isinstance(stream, VideoStream)
        assert isinstance(sound, AudioStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number, picture in enumerate(walk(5)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            frame = av.AudioFrame.from_ndarray(np.zeros((1, RATE // 10), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, number * RATE // 10
            container.mux(sound.encode(frame))
        container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    return path


def _constant_size(data: bytes) -> bytes:
    return put(put(put(data, b"stsz", (8, 1), (12, MANY)), b"stts", (12, MANY)), b"stsc", (16, MANY))


def _size_to_the_end(data: bytes) -> bytes:
    return put(_constant_size(data), b"moov", (-4, 0))


def _large_size(data: bytes) -> bytes:
    """The header's box with its size in 64 bits."""
    at = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, at)
    long = struct.pack(">I4sQ", 1, b"moov", size + 8) + data[at + 8 : at + size]
    return _constant_size(data[:at] + long + data[at + size :])


def _one_more_table(data: bytes) -> bytes:
    """After the first, in a box whose size does not know of it."""
    at = data.index(b"stsd") - 4
    (size,) = struct.unpack_from(">I", data, at)
    hidden = box(b"stsz", struct.pack(">III", 0, 1, MANY))
    return data[: at + size] + hidden + data[at + size :]


def _beside_the_header(data: bytes) -> bytes:
    return data + box(b"free", box(b"stsz", b""))[:-8] + struct.pack(">I4sIII", 8, b"stsz", 0, 1, MANY)


def _edits(data: bytes) -> bytes:
    return put(data, b"elst", (8, 1_000_000))


def _compressed(data: bytes) -> bytes:
    return data.replace(b"mvhd", b"cmov")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_constant_size, "too_long"),
        (_size_to_the_end, "too_long"),
        (_large_size, "too_long"),
        (_one_more_table, "too_long"),
        (_beside_the_header, "too_long"),
        (_edits, "too_long"),
        (_compressed, "bad_video"),
    ],
)
def test_refused_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes], code: str
) -> None:
    path = write_video(tmp_path / "video.mp4", walk(10))
    check_boxes(path, 10)
    path.write_bytes(spoil(path.read_bytes()))
    opened: list[object] = []
    monkeypatch.setattr(probing, "open_input", opened.append)
    with pytest.raises(BadInputError) as caught:
        probing.probe(path, VideoLimits())
    assert (caught.value.code, opened) == (code, [])


def test_frames_of_a_track_are_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mov", walk(10), sound="aac")
    check_boxes(path, 10)
    with path.open("rb") as opened, pytest.raises(BadInputError, match="more than 9 frames"):
        check_boxes(opened, 9)


def test_fragments_are_counted_also_where_an_index_leads_into_the_data(tmp_path: Path) -> None:
    path = write_fragments(tmp_path / "video.mp4")
    good = path.read_bytes()
    check_boxes(path, FRAMES)
    bad = put(good, b"trun", (4, 0), (8, MANY))
    path.write_bytes(bad)
    with pytest.raises(BadInputError, match="more samples"):
        check_boxes(path, FRAMES)
    start = good.index(b"moof") - 4
    path.write_bytes(good[:start] + box(b"mdat", bad[start:]))
    check_boxes(path, FRAMES)  # nothing leads there: FFmpeg does not see it
    path.write_bytes(good[:start] + box(b"sidx", bytes(32)) + box(b"mdat", bad[start:]))
    with pytest.raises(BadInputError, match="more samples"):
        check_boxes(path, FRAMES)


def test_hours_of_plain_sound_are_no_bomb(tmp_path: Path) -> None:
    """A sample of it is one number of the sound; FFmpeg indexes them by the thousand, unless the tables are odd."""
    path = write_plain_sound(tmp_path / "video.mov")
    good = path.read_bytes()
    hours = 2 * 3600 * RATE
    assert hours > FRAMES + MOST_OTHER_SAMPLES
    long = put(put(good, b"stsz", (12, hours), last=True), b"stts", (12, hours), last=True)
    path.write_bytes(long)
    check_boxes(path, FRAMES)
    for bomb in (
        put(long, b"stts", (16, 2), last=True),
        put(long, b"stsc", (16, 2**31 - 1), last=True),
        put(long, b"hdlr", (12, int.from_bytes(b"vide", "big")), last=False).replace(b"soun", b"vide"),
        long + box(b"stts", struct.pack(">IIII", 0, 1, hours, 2)),
    ):
        path.write_bytes(bomb)
        with pytest.raises(BadInputError):
            check_boxes(path, FRAMES)


def test_what_is_no_mp4_is_let_through(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", walk(3))
    path.write_bytes(path.read_bytes() + box(b"stsz", struct.pack(">III", 0, 1, MANY)))
    check_boxes(path, FRAMES)
