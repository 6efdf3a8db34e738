"""A video from file to result: what is found, what is drawn and what is heard."""

import csv
import json
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from shared.errors import BadInputError
from shared.videos import FrameDetections, VideoFindings, VideoOptions
from tests.worker.videos.synthetic import RATE, find_squares, floor, times_of, walk, with_square, write_video
from worker.videos import encoding, muxing
from worker.videos.joining import DonePart, join
from worker.videos.limits import VideoLimits
from worker.videos.muxing import Part, Sound
from worker.videos.planning import plan_segments
from worker.videos.probing import probe
from worker.videos.processing import process_video
from worker.videos.segments import process_segment

LIMITS = VideoLimits()


def _process(path: Path, folder: Path, options: VideoOptions | None = None) -> VideoFindings:
    folder.mkdir(exist_ok=True)
    return process_video(path, probe(path, LIMITS), options or VideoOptions(), find_squares, folder)


def _rows(folder: Path) -> list[FrameDetections]:
    return [FrameDetections.model_validate_json(line) for line in (folder / "frames.jsonl").read_bytes().splitlines()]


def test_the_whole_way(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(40), sound="aac")
    out = tmp_path / "out"
    findings = _process(path, out)
    assert (findings.frames, findings.analysed) == (40, 40)
    assert findings.duration == pytest.approx(4, abs=0.01)
    assert findings.counts == {"square": 1}
    assert findings.object_string == "1 square"
    assert findings.text == "This video shows 1 square."
    assert findings.notes == []
    assert findings.timeline.most == {"square": [1, 1, 1, 1]}
    assert [artifact.name for artifact in findings.artifacts] == [
        *("annotated.mp4", "poster.jpg", "thumbnail.jpg", "preview.webp", "frames.jsonl", "frames.csv")
    ]
    assert {artifact.name: artifact.bytes for artifact in findings.artifacts} == {
        file.name: file.stat().st_size for file in out.iterdir()
    }
    rows = _rows(out)
    assert [row.index for row in rows] == list(range(40))
    assert [row.time for row in rows] == [round(index / 10, 6) for index in range(40)]
    for row in rows:
        (found,) = row.detections
        assert found.box == pytest.approx((10 + 2 * row.index, 50, 34 + 2 * row.index, 74), abs=1.5)
    assert [row.detections[0].track_id for row in rows] == [None, None] + [1] * 38
    with (out / "frames.csv").open(encoding="utf-8") as table:
        lines = list(csv.DictReader(table))
    assert [(line["frame"], line["track"], line["label"]) for line in lines[1:3]] == [
        ("1", "", "square"),
        ("2", "1", "square"),
    ]
    with Image.open(out / "preview.webp") as preview:
        assert getattr(preview, "n_frames", 1) == 24
    with Image.open(out / "poster.jpg") as poster:
        assert poster.size == (160, 120)


def test_the_drawn_video_is_what_browsers_play(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", walk(40), sound="aac")
    _process(path, tmp_path / "out")
    drawn = tmp_path / "out" / "annotated.mp4"
    data = drawn.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(drawn)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
        first = next(container.decode(stream)).to_ndarray(format="rgb24")
    box = first[50:74, 10:34].astype(int)
    assert np.ptp(box.reshape(-1, 3).mean(axis=0)) < 90  # the square is still bright grey inside its box
    edge = first[60, 6:14].astype(int)
    assert np.ptp(edge, axis=1).max() > 20  # a coloured line, where all was grey
    assert times_of(drawn) == times_of(path)


def test_frames_that_come_when_they_like_keep_their_times(tmp_path: Path) -> None:
    times = [0, 0.04, 0.5, 0.52, 0.6, 1.9, 2.0, 2.033, 2.1, 3.0]
    path = write_video(tmp_path / "video.mkv", walk(10), times=times)
    findings = _process(path, tmp_path / "out")
    assert times_of(tmp_path / "out" / "annotated.mp4") == pytest.approx(times, abs=0.001)
    assert [row.time for row in _rows(tmp_path / "out")] == pytest.approx(times, abs=0.001)
    assert findings.fps == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(("width", "height"), [(161, 121), (160, 121), (161, 120), (2, 2), (17, 33)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    frames = [with_square(4, 4, 8, width, height) for _ in range(6)]
    path = write_video(tmp_path / "video.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    _process(path, tmp_path / "out")
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        decoded = list(container.decode(video=0))
    assert (decoded[0].width, decoded[0].height) == (width + width % 2, height + height % 2)
    assert len(decoded) == 6
    if min(width, height) > 12:
        assert _rows(tmp_path / "out")[0].detections[0].box == (4, 4, 12, 12)


def test_a_large_video_is_drawn_small_and_told_in_its_own_pixels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(12, width=640, height=360))
    _process(path, tmp_path / "out", VideoOptions(max_side=321))
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (320, 180)
    assert _rows(tmp_path / "out")[0].detections[0].box == pytest.approx((10, 50, 34, 74), abs=1.5)


def test_ten_bits(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "video.mp4",
        walk(10),
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": "log-level=none"},
    )
    assert _process(path, tmp_path / "out").counts == {"square": 1}


@pytest.mark.parametrize(
    ("name", "sound", "heard"),
    [
        ("video.mp4", "aac", "aac"),
        ("video.mkv", "libopus", "opus"),
        ("video.avi", "libmp3lame", "mp3float"),
        ("video.avi", "pcm_s16le", "aac"),
        ("video.mkv", "ac3", "aac"),
    ],
)
def test_the_sound_is_kept(tmp_path: Path, name: str, sound: str, heard: str) -> None:
    path = write_video(tmp_path / name, walk(30), sound=sound)
    assert _process(path, tmp_path / "out").notes == []
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == heard
        wave = np.concatenate([frame.to_ndarray().astype(float)[0] for frame in container.decode(stream)])
    assert len(wave) / RATE == pytest.approx(3, abs=0.15)
    spectrum = np.abs(np.fft.rfft(wave[RATE // 2 : RATE // 2 + RATE]))
    assert int(spectrum.argmax()) == pytest.approx(440, abs=2)


def test_sound_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mkv", walk(10), sound="pcm_s16le")
    data = path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_UNKNOWN/ABC")
    path.write_bytes(data)
    findings = _process(path, tmp_path / "out")
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        assert not container.streams.audio
    assert findings.notes == ["The sound is damaged or of an unknown kind: the drawn video has none."]


def test_start_and_end_cut_pictures_and_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(60), sound="aac")
    findings = _process(path, tmp_path / "out", VideoOptions(start=2, end=4))
    assert (findings.analysed, findings.duration) == (20, 2)
    assert [row.index for row in _rows(tmp_path / "out")] == list(range(20, 40))
    assert times_of(tmp_path / "out" / "annotated.mp4") == pytest.approx([number / 10 for number in range(20)])
    with av.open(str(tmp_path / "out" / "annotated.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(2, abs=0.05)


def test_nothing_between_start_and_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(10))
    with pytest.raises(BadInputError, match="between start and end") as caught:
        _process(path, tmp_path / "out", VideoOptions(start=30))
    assert caught.value.code == "no_frames"


def test_documents_only(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(20))
    findings = _process(path, tmp_path / "out", VideoOptions(draw=False, every=2))
    assert findings.analysed == 10
    assert not (tmp_path / "out" / "annotated.mp4").exists()
    with Image.open(tmp_path / "out" / "poster.jpg") as poster:
        assert np.ptp(np.asarray(poster).astype(int), axis=2).max() < 30  # no coloured box


def test_a_file_that_breaks_off(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", walk(100))
    path = tmp_path / "video.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    findings = _process(path, tmp_path / "out")
    assert 20 < findings.frames < 80
    assert findings.analysed == len(_rows(tmp_path / "out")) == len(times_of(tmp_path / "out" / "annotated.mp4"))
    (note,) = findings.notes
    assert note.startswith(f"The file is damaged or cut short: {findings.frames} frames could be decoded")


def _shown_for_hours(path: Path) -> None:
    """An APNG of two frames, each of which asks for 65535 s: FFmpeg makes a number below 0 of that."""
    red, blue = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")
    red.save(path, save_all=True, append_images=[blue], duration=1)
    data = bytearray(path.read_bytes())
    at = 8
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"fcTL":
            data[at + 28 : at + 32] = struct.pack(">HH", 65535, 1)
            data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    path.write_bytes(data)


def test_frames_that_are_shown_for_longer_than_ffmpeg_can_count(tmp_path: Path) -> None:
    path = tmp_path / "slow.png"
    _shown_for_hours(path)
    with av.open(str(path)) as container:
        assert any((packet.duration or 0) < 0 for packet in container.demux(video=0))
    findings = _process(path, tmp_path / "out")
    assert findings.frames == 2
    assert 0 < findings.duration < 1


@pytest.mark.parametrize("limits", [VideoLimits(max_frames=20), VideoLimits(max_gigapixels=20 * 160 * 120 / 1e9)])
def test_a_file_that_is_longer_than_it_seemed(tmp_path: Path, limits: VideoLimits) -> None:
    path = write_video(tmp_path / "video.mp4", walk(40))
    probed = probe(path, LIMITS)
    (segment,) = plan_segments(probed, VideoOptions())
    with pytest.raises(BadInputError) as caught:
        process_segment(
            path,
            probed.facts,
            segment,
            VideoOptions(),
            find_squares,
            tmp_path,
            limits=limits,
        )
    assert caught.value.code == "too_long"


def test_counting_by_line_and_zone(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(50))
    options = VideoOptions(line=(0.5, 1, 0.5, 0), zone=((0.5, 0), (1, 0), (1, 1), (0.5, 1)))
    findings = _process(path, tmp_path / "out", options)
    assert findings.line is not None
    assert findings.zone is not None
    assert (findings.line.to_right, findings.line.to_left) == ({"square": 1}, {})
    assert (findings.zone.entered, findings.zone.most) == ({"square": 1}, 1)


@pytest.mark.parametrize("encoder", list(encoding._ENCODERS))
def test_split_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    monkeypatch.setattr(encoding, "_ENCODERS", {encoder: encoding._ENCODERS[encoder]})
    path = write_video(tmp_path / "video.mp4", walk(100), sound="aac", fps=25, options={"x264-params": "open-gop=1"})
    options = VideoOptions(line=(0.5, 1, 0.5, 0))
    probed = probe(path, LIMITS)
    whole = _process(path, tmp_path / "whole", options)
    segments = plan_segments(probed, options, target_seconds=1)
    assert len(segments) == 4
    parts = []
    for segment in segments:
        folder = tmp_path / str(segment.number)
        folder.mkdir()
        result = process_segment(path, probed.facts, segment, options, find_squares, folder, batch=3)
        assert {*result.files} == {file.name for file in folder.iterdir()}
        parts.append(DonePart(result, folder))
    split = tmp_path / "split"
    split.mkdir()
    findings = join(path, probed.facts, options, parts[::-1], split)
    ignored = {"timings_ms", "artifacts"}
    assert findings.model_dump(exclude=ignored) == whole.model_dump(exclude=ignored)
    assert (split / "frames.jsonl").read_bytes() == (tmp_path / "whole" / "frames.jsonl").read_bytes()
    assert (split / "frames.csv").read_bytes() == (tmp_path / "whole" / "frames.csv").read_bytes()
    assert times_of(split / "annotated.mp4") == times_of(tmp_path / "whole" / "annotated.mp4")
    with av.open(str(split / "annotated.mp4")) as one, av.open(str(tmp_path / "whole" / "annotated.mp4")) as other:
        for left, right in zip(one.decode(video=0), other.decode(video=0), strict=True):
            difference = left.to_ndarray(format="gray").astype(int) - right.to_ndarray(format="gray")
            assert np.abs(difference).mean() < 4
    (tmp_path / "0" / "video.mp4").write_bytes(write_video(tmp_path / "other.mp4", walk(25)).read_bytes())
    with pytest.raises(ValueError, match="in different ways"):
        join(path, probed.facts, options, parts, split)
    for incomplete in ([], parts[1:], parts[:3], [*parts[:2], parts[3]], [*parts[:3], parts[2]]):
        with pytest.raises(ValueError, match="missing"):
            join(path, probed.facts, options, incomplete, split)


def test_a_preview_has_no_more_pictures_where_times_lie(tmp_path: Path) -> None:
    """Frames that all claim the same time make a video of no length, of which each frame would be another piece."""
    path = write_video(tmp_path / "video.mp4", walk(60))
    probed = probe(path, LIMITS)
    (segment,) = plan_segments(probed, VideoOptions())
    facts = probed.facts.model_copy(update={"duration": 0.002})
    result = process_segment(path, facts, segment, VideoOptions(), find_squares, tmp_path)
    assert result.analysed == 60
    assert sum(name.startswith("preview-") for name in result.files) == 24


def test_an_empty_scene(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", [floor() for _ in range(5)])
    findings = _process(path, tmp_path / "out")
    assert findings.text == "Nothing that this model knows was found in this video."
    assert (findings.counts, findings.tracks, findings.timeline.most) == ({}, [], {})
    assert json.loads((tmp_path / "out" / "frames.jsonl").read_text().splitlines()[4]) == {
        "index": 4,
        "time": 0.4,
        "detections": [],
    }


def test_what_is_drawn_but_not_followed_is_not_kept_silent_about(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", [floor(), with_square(40, 40), floor(), floor()])
    findings = _process(path, tmp_path / "out")
    assert (findings.counts, findings.timeline.most) == ({}, {"square": [1]})
    assert findings.text == "Nothing in this video was seen long or surely enough to be counted."
    assert findings.notes == ["Not seen long or surely enough to be counted: square."]


def test_a_full_disk_is_not_the_fault_of_the_sound(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.mp4", walk(10), sound="aac")
    parts = [Part(path, 0)]
    stream = probe(path, LIMITS).facts.audio
    assert stream is not None
    sound = Sound(path, stream, "aac", 0.0, 1.0)
    assert muxing.write_video(parts, sound, tmp_path / "out.mp4") == []
    with pytest.raises(OSError, match="No space left"):
        muxing._attempt(parts, sound, Path("/dev/full"), copy=True)
