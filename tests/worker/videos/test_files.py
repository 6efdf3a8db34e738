"""What becomes of each real file: frames, or a code."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from shared.errors import BadInputError
from shared.videos import VideoOptions
from tests.worker.videos.synthetic import LABELS, Pixels
from worker.models.detections import Detections
from worker.videos.animations import is_webp
from worker.videos.containers import prepare
from worker.videos.decoding import FrameReader
from worker.videos.encoding import output_size
from worker.videos.limits import VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import probe
from worker.videos.processing import process_video

LIMITS = VideoLimits()

#: file -> frames, width and height of the upright picture, whether a part of it is missing
FINISHED = {
    "videos/av1_video.mkv": (125, 640, 360, False),
    "videos/corrupted.mp4": (28, 1280, 720, True),
    "videos/flipping_a_pancake.mkv": (310, 426, 240, False),
    "videos/h265_10bits.mp4": (30, 200, 200, False),
    "videos/h265_video.mp4": (10, 128, 128, False),
    "videos/nasa_13013.mp4": (390, 480, 270, False),
    "videos/pedestrians-768x576.avi": (100, 768, 576, False),
    "videos/traffic.mp4": (578, 960, 544, False),
    "videos/unordered.mov": (4, 50, 50, False),
    "videos/video_0.mov": (3, 568, 320, False),
    "videos/video_90.mov": (3, 320, 568, False),
    "videos/video_180.mov": (3, 568, 320, False),
    "videos/video_270.mov": (3, 320, 568, False),
    "odd/images/background_outside_palette.gif": (2, 1, 1, False),
    "odd/images/decompression_bomb_extents.gif": (1, 100, 100, False),
    "odd/images/dispose_bgnd_rgba.gif": (5, 100, 100, False),
    "odd/images/hopper.gif": (1, 128, 128, False),
    "odd/images/iss634.apng": (41, 245, 245, False),
    "odd/images/iss634.gif": (42, 245, 245, False),
    "odd/images/iss634.webp": (42, 245, 245, False),
    "odd/images/missing_background.gif": (4, 32, 32, False),
    "odd/images/no_palette_after_rgb.gif": (1, 1, 1, True),
    "odd/images/no_palette_with_transparency.gif": (2, 2, 2, False),
    "odd/images/no_palette_with_transparency_after_rgb.gif": (2, 128, 128, False),
    "odd/images/palette_not_needed_for_second_frame.gif": (2, 128, 128, False),
}
REFUSED = {
    "videos/LICENSE.one-by-one-person-detection": "bad_video",
    "odd/images/decompression_bomb.gif": "no_frames",
    "odd/images/no_palette.gif": "no_frames",
    "odd/images/zero_width.gif": "bad_video",
    "odd/images/hopper.webp": "bad_video",
    "odd/images/anim_frame1.webp": "bad_video",
    "odd/images/hopper.png": "bad_video",
    "photos/dog.jpg": "bad_video",
}
#: the model's own test does it
ELSEWHERE = {"videos/one-by-one-person-detection.mp4"}


def _find_one(pictures: list[Pixels]) -> list[Detections]:
    """The middle of each picture."""
    return [
        Detections(
            np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]], np.float32),
            np.array([0.9], np.float32),
            np.array([0], np.int64),
            LABELS,
        )
        for height, width, _ in (picture.shape for picture in pictures)
    ]


@pytest.mark.parametrize("name", FINISHED)
def test_finished(data_dir: Path, tmp_path: Path, name: str) -> None:
    frames, width, height, is_cut = FINISHED[name]
    file = prepare(data_dir / name, tmp_path, LIMITS)
    probed = probe(file, LIMITS)
    out = tmp_path / "out"
    out.mkdir()
    findings = process_video(file, probed, VideoOptions(max_side=320), _find_one, out)
    assert (findings.frames, probed.facts.width, probed.facts.height) == (frames, width, height)
    assert findings.analysed == frames
    assert sum(findings.counts.values()) == (frames >= 3)
    assert any("damaged or cut short" in note for note in findings.notes) == is_cut
    with av.open(str(out / "annotated.mp4")) as container:
        decoded = list(container.decode(video=0))
        assert container.duration is not None
        seconds = max(findings.duration, 0.0)
        assert float(decoded[-1].time) < seconds <= container.duration / av.time_base + 0.1
    assert len(decoded) == frames
    assert all(frame.rotation == 0 for frame in decoded)
    assert (decoded[0].width, decoded[0].height) == output_size(width, height, 320)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(data_dir: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        probe(prepare(data_dir / name, tmp_path, LIMITS), LIMITS)
    assert caught.value.code == REFUSED[name]


def test_every_video_is_in_a_table(data_dir: Path) -> None:
    known = {*FINISHED, *REFUSED, *ELSEWHERE}
    assert {f"videos/{file.name}" for file in (data_dir / "videos").iterdir()} <= known


@pytest.mark.parametrize("name", ["iss634.gif", "iss634.apng", "iss634.webp"])
def test_animations_look_as_pillow_shows_them_on_white(data_dir: Path, tmp_path: Path, name: str) -> None:
    source = data_dir / "odd/images" / name
    file = prepare(source, tmp_path, LIMITS)
    assert is_webp(source.read_bytes()) == (file != source)
    probed = probe(file, LIMITS)
    (segment,) = plan_segments(probed, VideoOptions())
    read = list(FrameReader(file, probed.facts, segment, VideoOptions(), LIMITS))
    expected = list(_on_white(source))[-len(read) :]  # an APNG may have a first picture that is not of the animation
    assert len(read) == len(expected)
    for frame, picture in zip(read, expected, strict=True):
        assert np.abs(frame.pixels.astype(int) - picture).mean() < 1.5


def _on_white(path: Path) -> Iterator[Pixels]:
    with Image.open(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(image.convert("RGBA"))
            yield np.asarray(white.convert("RGB"))


def test_rotated_videos_are_upright(data_dir: Path) -> None:
    """The frames of the file, turned as its header says, and no other way."""
    turns = {"video_0.mov": 0, "video_90.mov": 3, "video_180.mov": 2, "video_270.mov": 1}
    for name, quarter_turns in turns.items():
        path = data_dir / "videos" / name
        with av.open(str(path)) as container:
            raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
        probed = probe(path, LIMITS)
        (segment,) = plan_segments(probed, VideoOptions())
        first = next(iter(FrameReader(path, probed.facts, segment, VideoOptions(), LIMITS)))
        assert np.abs(first.pixels.astype(int) - np.rot90(raw, quarter_turns)).max() <= 2
