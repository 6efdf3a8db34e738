import pytest

from shared.results import Detection
from shared.videos import FrameDetections, VideoOptions
from worker.videos.counting import Counting, inside
from worker.videos.tracking import Tracking

SIZE = (200, 100)


def _box(x: float, y: float, label: str = "person", score: float = 0.9) -> Detection:
    """A box of 20 x 30 pixels that stands at x, y."""
    return Detection(label=label, class_id=0, score=score, box=(x - 10, y - 30, x + 10, y))


def _follow(
    frames: list[list[Detection]], options: VideoOptions, fps: float = 10
) -> tuple[list[FrameDetections], Tracking, Counting]:
    tracking, counting = Tracking(fps), Counting(options, SIZE)
    numbered = []
    for index, found in enumerate(frames):
        frame = tracking.follow(FrameDetections(index=index, time=index / fps, detections=found))
        counting.add(frame)
        numbered.append(frame)
    return numbered, tracking, counting


def _walk(start: float, end: float, y: float = 60, steps: int = 30) -> list[list[Detection]]:
    return [[_box(start + (end - start) * step / (steps - 1), y)] for step in range(steps)]


def test_one_object_is_one_track() -> None:
    frames, tracking, _ = _follow(_walk(20, 180), VideoOptions())
    assert [frame.detections[0].track_id for frame in frames] == [None] * 2 + [1] * 28
    (track,), unlisted = tracking.tracks()
    assert (track.id, track.label, track.frames, unlisted) == (1, "person", 28, 0)
    assert (track.first, track.last) == (0.2, 2.9)


def test_nothing_is_no_track() -> None:
    frames, tracking, counting = _follow([[], [], []], VideoOptions())
    assert [frame.detections for frame in frames] == [[], [], []]
    assert tracking.counts() == {}
    assert counting.timeline(0.3).most == {}


def test_the_order_of_boxes_stays() -> None:
    pair = [[_box(40, 90, "car", 0.7), _box(150, 90, "dog", 0.95)]] * 6
    frames, tracking, _ = _follow(pair, VideoOptions())
    assert [found.label for found in frames[-1].detections] == ["car", "dog"]
    assert len({found.track_id for found in frames[-1].detections}) == 2
    assert tracking.counts() == {"car": 1, "dog": 1}


def test_an_object_that_is_hidden_for_a_second_keeps_its_number() -> None:
    walk = _walk(20, 180, steps=60)
    frames, tracking, _ = _follow(walk[:20] + [[]] * 10 + walk[30:], VideoOptions())
    assert {frame.detections[0].track_id for frame in frames[2:] if frame.detections} == {1}
    assert tracking.counts() == {"person": 1}


def test_a_label_that_flickers_is_one_object() -> None:
    van = [[_box(60 + step, 80, "truck" if step % 4 == 0 else "car")] for step in range(20)]
    assert _follow(van, VideoOptions())[1].counts() == {"car": 1}


def test_a_weak_box_continues_a_track_and_begins_none() -> None:
    weak = [[_box(60 + step, 80, score=0.3)] for step in range(10)]
    assert _follow(weak, VideoOptions())[1].counts() == {}
    strong = [[_box(50 + step, 80)] for step in range(10)]
    frames, tracking, _ = _follow(strong + weak, VideoOptions())
    assert tracking.counts() == {"person": 1}
    assert frames[-1].detections[0].track_id == 1


LINE = (0.5, 1.0, 0.5, 0.0)  # upwards in the middle: its right hand is the picture's right


@pytest.mark.parametrize(
    ("frames", "line", "right", "left"),
    [
        (_walk(20, 180), LINE, 1, 0),
        (_walk(180, 20), LINE, 0, 1),
        (_walk(20, 180), (0.5, 0.0, 0.5, 1.0), 0, 1),
        (_walk(20, 180), (0.5, 0.3, 0.5, 0.0), 0, 0),  # passes below the line's end
        (_walk(20, 90), LINE, 0, 0),
        (_walk(20, 180) + _walk(180, 20), LINE, 1, 1),
        (_walk(20, 90) + [[]] * 5 + _walk(110, 180), LINE, 1, 0),  # hidden while it crosses
        ([], LINE, 0, 0),
    ],
)
def test_crossings(
    frames: list[list[Detection]], line: tuple[float, float, float, float], right: int, left: int
) -> None:
    _, tracking, counting = _follow(frames, VideoOptions(line=line))
    counts = counting.line(tracking)
    assert counts is not None
    assert (sum(counts.to_right.values()), sum(counts.to_left.values())) == (right, left)
    assert counting.zone(tracking) is None


def test_standing_upon_the_line_counts_once() -> None:
    frames = _walk(20, 100) + [[_box(100, 60)]] * 5 + _walk(100, 180)
    _, tracking, counting = _follow(frames, VideoOptions(line=LINE))
    counts = counting.line(tracking)
    assert counts is not None
    assert (counts.to_right, counts.to_left) == ({"person": 1}, {})


def test_a_zone_counts_each_object_once() -> None:
    zone = ((0.4, 0.0), (0.6, 0.0), (0.6, 1.0), (0.4, 1.0))
    there_and_back = _walk(20, 180) + _walk(180, 20)
    _, tracking, counting = _follow(there_and_back, VideoOptions(zone=zone))
    counts = counting.zone(tracking)
    assert counts is not None
    assert (counts.entered, counts.most) == ({"person": 1}, 1)


@pytest.mark.parametrize(
    ("point", "expected"),
    [((0.5, 0.5), True), ((0.1, 0.1), False), ((0.5, 0.15), False), ((0.2, 0.8), True), ((0.8, 0.8), True)],
)
def test_inside_a_zone_with_a_notch(point: tuple[float, float], expected: bool) -> None:
    notch = ((0.1, 0.2), (0.5, 0.4), (0.9, 0.2), (0.9, 0.9), (0.1, 0.9))
    assert inside(notch, point) is expected
    assert inside(notch[::-1], point) is expected


def test_the_timeline_has_the_most_of_each_second() -> None:
    frames = [[_box(40, 60)]] * 10 + [[_box(40, 60), _box(100, 60)]] * 5 + [[]] * 15
    timeline = _follow(frames, VideoOptions())[2].timeline(3)
    assert timeline.seconds == 1
    assert timeline.most == {"person": [1, 2, 0]}


def test_the_timeline_of_a_long_video_is_short() -> None:
    counting = Counting(VideoOptions(), SIZE)
    for second in range(1000):
        counting.add(FrameDetections(index=second, time=second, detections=[_box(40, 60)] if second == 777 else []))
    timeline = counting.timeline(1000)
    assert timeline.seconds == 4
    assert len(timeline.most["person"]) == 250
    assert sum(timeline.most["person"]) == 1
    assert timeline.most["person"][777 // 4] == 1


@pytest.mark.parametrize(
    "options",
    [
        {"start": 3, "end": 2},
        {"every": 2, "fps": 5},
        {"line": (0.5, 0.5, 0.5, 0.5)},
        {"zone": ((0, 0), (0.5, 0.5), (1, 1))},
        {"zone": ((0, 0), (1, 1))},
        {"line": (0, 0, 1.5, 1)},
        {"every": 0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        VideoOptions.model_validate(options)
