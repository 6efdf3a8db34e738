from datetime import UTC, datetime

from shared.results import Detection
from shared.streams import StreamOptions, StreamState
from worker.streams.scene import Scene
from worker.streams.timeline import GrowingTimeline

SIZE = (100, 100)
OPTIONS = StreamOptions(fps=10, line=(0.5, 0, 0.5, 1), zone=((0.6, 0), (1, 0), (1, 1), (0.6, 1)))


def begin() -> StreamState:
    return StreamState(started_at=datetime(2030, 1, 1, tzinfo=UTC))


def person(x: float) -> Detection:
    return Detection(label="person", class_id=0, score=0.9, box=(x, 40, x + 10, 60))


def walk(scene: Scene, start: float, frames: int, x: float = 10, step: float = 1) -> float:
    """A person walks; returns when that has ended."""
    for number in range(frames):
        scene.add(number, start + number / 10, [person(x + step * number)], SIZE)
    return start + frames / 10


def test_who_comes_and_goes_crosses_and_enters() -> None:
    scene = Scene(OPTIONS, begin())
    end = walk(scene, 0, 70)
    assert scene.now == {"person": 1}
    for number in range(40):
        scene.add(number, end + number / 10, [], SIZE)
    assert [(event.kind, event.label, event.track_id) for event in scene.events] == [
        ("appeared", "person", 1),
        ("crossed", "person", 1),
        ("entered", "person", 1),
        ("disappeared", "person", 1),
    ]
    assert scene.events[1].direction == "left"  # of one who looks down the line
    assert scene.events[3].seconds == 6.7  # from the third frame on it is an object
    totals = scene.totals()
    assert totals.counts == {"person": 1}
    assert totals.line is not None
    assert totals.line.to_left == {"person": 1}
    assert totals.zone is not None
    assert (totals.zone.entered, totals.zone.most) == ({"person": 1}, 1)
    assert scene._tracking._stories == {}  # what is gone is forgotten


def test_another_attempt_counts_on() -> None:
    first = Scene(OPTIONS, begin())
    walk(first, 0, 70)
    state = first.update(begin())
    again = Scene(OPTIONS, StreamState.model_validate_json(state.model_dump_json()))
    walk(again, 20, 70)
    assert again.totals().counts == {"person": 2}
    assert again.totals().line == first.totals().line.model_copy(update={"to_left": {"person": 2}})  # type: ignore[union-attr]
    assert [event.track_id for event in again.events if event.kind == "appeared"] == [1, 2]


def test_after_an_interruption_everybody_is_new() -> None:
    scene = Scene(OPTIONS, begin())
    end = walk(scene, 0, 10)
    scene.interrupt()
    walk(scene, end + 1, 10)
    assert scene.totals().counts == {"person": 2}
    assert [event.kind for event in scene.events] == ["appeared", "disappeared", "appeared"]


def test_the_timeline_takes_no_more_room_for_a_long_time() -> None:
    timeline = GrowingTimeline()
    timeline.add(10, {"dog": 3})
    for second in range(0, 100_000, 50):
        timeline.add(second, {"person": 1})
    found = GrowingTimeline(timeline.document()).document()
    assert found == timeline.document()
    assert found.seconds == 512
    assert {len(values) for values in found.most.values()} == {196}
    assert found.most["dog"][:2] == [3, 0]
    assert set(found.most["person"]) == {1}
