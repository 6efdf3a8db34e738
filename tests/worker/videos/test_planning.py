"""Parts of a video have, together, exactly the frames of the whole."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.videos import Segment, VideoOptions
from tests.worker.videos.synthetic import walk, write_video
from worker.videos.decoding import Frame, FrameReader
from worker.videos.limits import VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import Probe, probe

LIMITS = VideoLimits()


def _frames(path: Path, probed: Probe, segment: Segment, options: VideoOptions) -> list[Frame]:
    return list(FrameReader(path, probed.facts, segment, options, LIMITS))


def _assert_same(whole: list[Frame], parts: list[Frame]) -> None:
    assert [(frame.index, frame.ticks, frame.duration) for frame in parts] == [
        (frame.index, frame.ticks, frame.duration) for frame in whole
    ]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(whole, parts, strict=True))


CODECS = {
    "x264-b.mp4": ("libx264", {"x264-params": "bframes=3:b-pyramid=normal"}),
    "x264-open.mp4": ("libx264", {"x264-params": "open-gop=1:bframes=3"}),
    "x264-open.ts": ("libx264", {"x264-params": "open-gop=1:bframes=3"}),
    "x265-open.mp4": ("libx265", {"x265-params": "open-gop=1:bframes=4:log-level=none"}),
    "x265-open.mkv": ("libx265", {"x265-params": "open-gop=1:bframes=4:log-level=none"}),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "b": "2M"}),
    "mpeg4.avi": ("mpeg4", {"b": "2M"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}


@pytest.mark.parametrize(("gop", "most_in_vain"), [(12, 0), (45, 45)])
@pytest.mark.parametrize("name", CODECS)
def test_every_frame_is_in_exactly_one_part(tmp_path: Path, name: str, gop: int, most_in_vain: int) -> None:
    """Where keyframes are rare, cuts between them, too."""
    codec, options = CODECS[name]
    path = write_video(tmp_path / name, walk(100), codec=codec, options=options, fps=25, gop=gop)
    probed = probe(path, LIMITS)
    wanted = VideoOptions()
    (whole,) = plan_segments(probed, wanted)
    segments = plan_segments(probed, wanted, target_seconds=0.8, most_in_vain=most_in_vain)
    assert len(segments) >= 4
    assert any(segment.start != segment.keyframe for segment in segments) is (most_in_vain > 0)
    frames = _frames(path, probed, whole, wanted)
    assert len(frames) == 100
    parts = [_frames(path, probed, segment, wanted) for segment in segments]
    assert [len(part) for part in parts] == [segment.frames for segment in segments]
    _assert_same(frames, [frame for part in parts for frame in part])


@pytest.mark.parametrize(
    "wanted",
    [
        VideoOptions(every=7),
        VideoOptions(fps=4),
        VideoOptions(fps=23.7),
        VideoOptions(start=1.3, end=3.1),
        VideoOptions(fps=3, start=0.77),
    ],
)
def test_parts_choose_the_same_frames(tmp_path: Path, wanted: VideoOptions) -> None:
    path = write_video(tmp_path / "video.mp4", walk(100), fps=25, gop=13)
    probed = probe(path, LIMITS)
    (whole,) = plan_segments(probed, wanted)
    segments = plan_segments(probed, wanted, target_seconds=0.6)
    assert len(segments) >= 3
    expected = _frames(path, probed, whole, wanted)
    _assert_same(expected, [frame for segment in segments for frame in _frames(path, probed, segment, wanted)])
    assert expected[0].ticks >= wanted.start * 90_000
    if wanted.end is not None:
        assert expected[-1].ticks < wanted.end * 90_000
    if wanted.fps is not None:
        assert len(expected) == pytest.approx((4 - wanted.start) * wanted.fps, abs=1)
    else:
        assert [frame.index % wanted.every for frame in expected] == [0] * len(expected)


def test_a_late_start_is_not_decoded_from_the_beginning(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(100), fps=25, gop=13)
    probed = probe(path, LIMITS)
    options = VideoOptions(start=3)
    (segment,) = plan_segments(probed, options)
    reader = FrameReader(path, probed.facts, segment, options, LIMITS)
    assert len(list(reader)) == 25
    assert reader.decoded < 50


def test_parts_are_about_as_long_as_asked_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(200), fps=25, gop=15)
    probed = probe(path, LIMITS)
    lengths = [segment.frames / 25 for segment in plan_segments(probed, VideoOptions(), target_seconds=2)]
    assert sum(lengths) == 8
    assert len(lengths) == 4
    assert max(lengths) <= 3
    assert len(plan_segments(probed, VideoOptions(), target_seconds=60)) == 1


def test_without_sound_timestamps_nothing_is_cut(tmp_path: Path) -> None:
    """A raw stream has no times."""
    path = write_video(tmp_path / "video.h264", walk(60), gop=10)
    probed = probe(path, LIMITS)
    assert probed.keyframes == ()
    (segment,) = plan_segments(probed, VideoOptions(), target_seconds=1)
    frames = _frames(path, probed, segment, VideoOptions())
    assert len(frames) == 60
    assert all(one.ticks < other.ticks for one, other in pairwise(frames))


def test_a_seek_that_misses_is_made_good(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(60), gop=10)
    probed = probe(path, LIMITS)
    segment = plan_segments(probed, VideoOptions(), target_seconds=2)[1]

    class Lost(FrameReader):
        def _packets(self, container: Any, stream: Any, *, from_beginning: bool) -> Any:
            return super()._packets(container, stream, from_beginning=True) if from_beginning else iter(())

    expected = _frames(path, probed, segment, VideoOptions())
    _assert_same(expected, list(Lost(path, probed.facts, segment, VideoOptions(), LIMITS)))
