"""A part of a video as a stream: who waits for whom, what is told meanwhile, and how it is stopped."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from av.video.frame import VideoFrame

from shared.videos import VideoOptions
from tests.worker.videos.synthetic import Pixels, find_squares, walk, write_video
from worker.models.detections import Detections
from worker.videos.decoding import FrameReader
from worker.videos.limits import VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import probe
from worker.videos.processing import process_video
from worker.videos.segments import Progress, process_segment

LIMITS = VideoLimits()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class _Stop(BaseException):
    """Neither an `Exception` nor ours, like what a worker is interrupted with."""


def _predict_and_stop(pictures: list[Pixels]) -> list[Detections]:
    raise _Stop


def _too_few(pictures: list[Pixels]) -> list[Detections]:
    return find_squares(pictures)[1:]


def _progress_and_stop(progress: Progress) -> None:
    raise _Stop


@pytest.mark.parametrize(
    ("predict", "on_progress", "error"),
    [
        (_predict_and_stop, None, _Stop),
        (_too_few, None, ValueError),
        (find_squares, _progress_and_stop, _Stop),
    ],
)
def test_an_exception_ends_everything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    predict: Callable[[list[Pixels]], list[Detections]],
    on_progress: Callable[[Progress], None] | None,
    error: type[BaseException],
) -> None:
    monkeypatch.setattr("worker.videos.segments._SECONDS_BETWEEN_REPORTS", 0)
    path = write_video(tmp_path / "video.mp4", walk(100))
    probed = probe(path, LIMITS)
    threads, files = threading.active_count(), _open_files()
    with pytest.raises(error):
        process_video(path, probed, VideoOptions(), predict, tmp_path / "..", on_progress=on_progress)
    assert threading.active_count() == threads
    assert _open_files() == files


def test_an_error_of_the_recorder_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.videos.encoding.SegmentEncoder.add", full)
    path = write_video(tmp_path / "video.mp4", walk(3))  # the recorder fails after the last frame was handed over
    threads = threading.active_count()
    with pytest.raises(OSError, match="No space left"):
        process_video(path, probe(path, LIMITS), VideoOptions(), find_squares, tmp_path)
    assert threading.active_count() == threads


def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.videos.segments._SECONDS_BETWEEN_REPORTS", 0)
    path = write_video(tmp_path / "video.mp4", walk(60))
    told: list[Progress] = []
    caller = threading.current_thread()

    def listen(progress: Progress) -> None:
        assert threading.current_thread() is caller
        told.append(progress)

    process_video(path, probe(path, LIMITS), VideoOptions(), find_squares, tmp_path, on_progress=listen)
    assert sorted({progress.frames for progress in told} - {0}) == [*range(4, 61, 4)]
    percents = [progress.percent for progress in told]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert told[-1].seconds_left == 0
    assert told[-1].frames_per_second > 0
    previews = [progress.preview for progress in told if progress.preview is not None]
    assert 1 <= len(previews) <= 5
    assert previews[0].startswith(b"\xff\xd8")


def test_who_waits_for_the_first_frame_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be that very much has to be decoded before it."""
    path = write_video(tmp_path / "video.mp4", walk(3))
    probed = probe(path, LIMITS)
    most = 5_000_000
    seen = 0

    decode = FrameReader._decode

    def long(self: FrameReader, *more: Any) -> Iterator[VideoFrame]:
        nonlocal seen
        for frame in decode(self, *more):
            while seen < most:
                seen += 1
                yield frame

    def stop(progress: Progress) -> None:
        assert progress.frames == 0
        raise _Stop

    monkeypatch.setattr(FrameReader, "_decode", long)
    (segment,) = plan_segments(probed, VideoOptions())
    limits, options = VideoLimits(max_frames=2 * most), VideoOptions(start=3600)
    with pytest.raises(_Stop):
        process_segment(path, probed.facts, segment, options, find_squares, tmp_path, limits=limits, on_progress=stop)
    assert 0 < seen < most


def test_decoding_waits_for_the_model(tmp_path: Path) -> None:
    """Only a few frames are decoded ahead, however long the video is."""
    path = write_video(tmp_path / "video.mp4", walk(200))
    probed = probe(path, LIMITS)
    (segment,) = plan_segments(probed, VideoOptions())
    ahead: list[int] = []
    seen = 0

    def slow(pictures: list[Pixels]) -> list[Detections]:
        nonlocal seen
        seen += len(pictures)
        threading.Event().wait(0.005)
        return find_squares(pictures)

    original = FrameReader._pixels

    def counted(self: FrameReader, frame: VideoFrame) -> Pixels:
        ahead.append(self.decoded - seen)
        return original(self, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameReader, "_pixels", counted)
        process_segment(path, probed.facts, segment, VideoOptions(), slow, tmp_path)
    assert len(ahead) == 200
    assert max(ahead) <= 8 + 4 + 2
