import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import BadInputError
from tests.worker.videos.synthetic import floor, walk, write_sound, write_video
from worker.videos.limits import VideoLimits, frames_waiting
from worker.videos.probing import probe


def _refused(path: Path, limits: VideoLimits | None = None) -> str:
    with pytest.raises(BadInputError) as caught:
        probe(path, limits or VideoLimits())
    return caught.value.code


def _text(path: Path) -> Path:
    path.write_text("no video at all\n" * 100)
    return path


def _empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _playlist(path: Path) -> Path:
    other = write_video(path.with_name("other.mp4"), walk(3))
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")
    return path


def _script(path: Path) -> Path:
    other = write_video(path.with_name("other.mp4"), walk(3))
    path.write_text(f"ffconcat version 1.0\nfile {other.name}\n")
    return path


def _without_index(path: Path) -> Path:
    """The first half of a file whose index is at its end."""
    data = write_video(path, walk(20)).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _zeros(path: Path) -> Path:
    """Everything is there but the pictures."""
    data = bytearray(write_video(path, walk(20)).read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    return path


def _unknown(path: Path) -> Path:
    path.write_bytes(write_video(path, walk(20)).read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_UNKNOWN/CODEC"))
    return path


@pytest.mark.parametrize(
    ("make", "name", "code"),
    [
        (_text, "text.mp4", "bad_video"),
        (_empty, "empty.mp4", "bad_video"),
        (_playlist, "playlist.m3u8", "bad_video"),
        (_script, "script.mp4", "bad_video"),
        (_without_index, "half.mp4", "bad_video"),
        (_zeros, "zeros.mp4", "no_frames"),
        (_unknown, "unknown.mkv", "bad_video"),
        (write_sound, "sound.m4a", "no_video_stream"),
    ],
)
def test_refused(tmp_path: Path, make: Callable[[Path], Path], name: str, code: str) -> None:
    assert _refused(make(tmp_path / name)) == code


def test_limits(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", walk(30))
    assert _refused(video, VideoLimits(max_pixels=160 * 120 - 1)) == "too_many_pixels"
    assert _refused(video, VideoLimits(max_seconds=2.5)) == "too_long"
    assert _refused(video, VideoLimits(max_frames=29)) == "too_long"
    assert _refused(video, VideoLimits(max_aspect=1)) == "bad_aspect"
    assert _refused(video, VideoLimits(max_gigapixels=29 * 160 * 120 / 1e9)) == "too_long"
    probe(
        video,
        VideoLimits(
            max_pixels=160 * 120, max_seconds=3, max_frames=30, max_aspect=2, max_gigapixels=30 * 160 * 120 / 1e9
        ),
    )


def test_facts(tmp_path: Path) -> None:
    facts = probe(write_video(tmp_path / "video.mkv", walk(30), sound="libopus"), VideoLimits()).facts
    assert (facts.width, facts.height, facts.rotation) == (160, 120, 0)
    assert (facts.codec, facts.audio_codec) == ("h264", "opus")
    assert facts.frames == 30
    assert facts.fps == pytest.approx(10, rel=0.01)
    assert facts.duration == pytest.approx(3, abs=0.01)


def test_a_header_that_lies_about_its_length_is_not_believed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", walk(20))
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # the element "Duration": 8 bytes of milliseconds
    data[at : at + 8] = struct.pack(">d", 1e9)
    path.write_bytes(data)
    facts = probe(path, VideoLimits()).facts
    assert facts.declared == 1e6
    assert facts.duration == pytest.approx(2, abs=0.01)
    assert facts.frames == 20


def test_a_file_is_read_like_a_path(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(20))
    with path.open("rb") as opened:
        assert probe(opened, VideoLimits()).facts == probe(path, VideoLimits()).facts


def test_keyframes_say_what_is_shown_before_them(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", walk(40), options={"x264-params": "open-gop=1:bframes=3"})
    keyframes = probe(path, VideoLimits()).keyframes
    assert [keyframe.index for keyframe in keyframes] == [round(keyframe.pts / 100) for keyframe in keyframes]
    assert [keyframe.pts - keyframe.previous for keyframe in keyframes] == [100] * len(keyframes)
    assert len(keyframes) >= 3


@pytest.mark.parametrize(("width", "height"), [(2, 2), (1920, 1080), (7680, 4320)])
def test_waiting_frames_take_bounded_memory(width: int, height: int) -> None:
    frames = frames_waiting(width, height)
    assert frames >= 1
    assert frames == 1 or frames * width * height * 3 <= 64 * 1024 * 1024
    assert floor(width, height).nbytes == width * height * 3
