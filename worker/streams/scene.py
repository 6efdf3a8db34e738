"""What happens in a stream: who appears, disappears, crosses the line, enters or leaves the zone, and how many.

It forgets objects that are gone, so that its memory does not grow with the days.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from shared.results import Detection, count_labels
from shared.streams import EVENTS_KEPT, EventKind, StreamCounts, StreamEvent, StreamOptions, StreamState
from shared.videos import FrameDetections, LineCounts, Point, ZoneCounts
from worker.streams.timeline import GrowingTimeline
from worker.videos.counting import Crossing, foot, inside
from worker.videos.tracking import Tracking

#: seconds after which an object that is not seen is gone; the tracker has given up its number before
_GONE: Final = 3.0


@dataclass(slots=True)
class _Present:
    """An object that is followed."""

    first: float
    last: float
    crossing: Crossing | None = None
    """none without a line"""
    is_inside: bool = False
    was_inside: bool = False


class Scene:
    """Follows objects and counts, from frame to frame.

    Args:
        options: line and zone.
        state: what was counted by an attempt before.
    """

    def __init__(self, options: StreamOptions, state: StreamState) -> None:
        self._options = options
        self._begin = state.started_at
        self._given = state.tracks
        self._before = state.tracks
        totals = state.totals
        self._counts = Counter(totals.counts)
        self._crossed: dict[Literal["right", "left"], Counter[str]] = {
            "right": Counter(totals.line.to_right if totals.line is not None else {}),
            "left": Counter(totals.line.to_left if totals.line is not None else {}),
        }
        self._entered = Counter(totals.zone.entered if totals.zone is not None else {})
        self._most_inside = totals.zone.most if totals.zone is not None else 0
        self._timeline = GrowingTimeline(state.timeline)
        self._tracking = Tracking(options.fps)
        self._present: dict[int, _Present] = {}
        #: the newest, oldest first
        self.events: deque[StreamEvent] = deque(state.events, maxlen=EVENTS_KEPT)
        #: objects in the newest frame
        self.now: dict[str, int] = {}

    def add(self, index: int, seconds: float, detections: list[Detection], size: tuple[int, int]) -> list[Detection]:
        """Look at the next frame.

        Args:
            index: number of the frame.
            seconds: after the beginning of the stream; more than for the frame before.
            detections: what the model has found.
            size: width and height of the frame.

        Returns:
            The same with the numbers of tracks.
        """
        frame = self._tracking.follow(FrameDetections(index=index, time=seconds, detections=detections))
        found = [self._numbered(detection) for detection in frame.detections]
        self.now = count_labels(detection.label for detection in found)
        self._timeline.add(seconds, self.now)
        for detection in found:
            if detection.track_id is not None:
                self._see(detection.track_id, seconds, foot(detection, size))
        self._most_inside = max(self._most_inside, sum(each.is_inside for each in self._present.values()))
        self._let_go(seconds, [track for track, each in self._present.items() if seconds - each.last > _GONE])
        return found

    def interrupt(self) -> None:
        """The stream has broken off: who is there now is not the one who is there when it comes back."""
        if self._present:
            last = max(each.last for each in self._present.values())
            self._let_go(last, list(self._present))
        self._tracking = Tracking(self._options.fps)
        self._before = self._given
        self.now = {}

    def note(self, kind: EventKind, seconds: float, message: str = "") -> None:
        """Something has happened to the stream itself."""
        self.events.append(StreamEvent(time=self._moment(seconds), kind=kind, message=message))

    def totals(self) -> StreamCounts:
        """The counts up to now."""
        options = self._options
        counts = self._counts + Counter(self._label(track) for track in self._present)
        line = zone = None
        if options.line is not None:
            right, left = (_sorted(self._crossed[direction]) for direction in ("right", "left"))
            line = LineCounts(line=options.line, to_right=right, to_left=left)
        if options.zone is not None:
            zone = ZoneCounts(zone=options.zone, entered=_sorted(self._entered), most=self._most_inside)
        return StreamCounts(counts=_sorted(counts), line=line, zone=zone)

    def update(self, state: StreamState) -> StreamState:
        """The state with all that is known here."""
        return state.model_copy(
            update={
                "tracks": self._given,
                "totals": self.totals(),
                "timeline": self._timeline.document(),
                "events": list(self.events),
            }
        )

    def _numbered(self, detection: Detection) -> Detection:
        """With a number that no object of another connection has."""
        if detection.track_id is None:
            return detection
        return detection.model_copy(update={"track_id": detection.track_id + self._before})

    def _label(self, track: int) -> str:
        return self._tracking.label(track - self._before)

    def _see(self, track: int, seconds: float, place: Point) -> None:
        present = self._present.get(track)
        if present is None:
            line = self._options.line
            present = self._present[track] = _Present(seconds, seconds, None if line is None else Crossing(line))
            self._given = max(self._given, track)
            self._tell("appeared", track, seconds)
        present.last = seconds
        if present.crossing is not None and (direction := present.crossing.step(place)) is not None:
            self._crossed[direction][self._label(track)] += 1
            self._tell("crossed", track, seconds, direction=direction)
        if self._options.zone is not None:
            self._enter(track, present, seconds, inside(self._options.zone, place))

    def _enter(self, track: int, present: _Present, seconds: float, is_inside: bool) -> None:
        if is_inside == present.is_inside:
            return
        present.is_inside = is_inside
        if is_inside and not present.was_inside:
            present.was_inside = True
            self._entered[self._label(track)] += 1
        self._tell("entered" if is_inside else "left", track, seconds)

    def _let_go(self, seconds: float, tracks: Iterable[int]) -> None:
        for track in tracks:
            shown = self._present[track].last - self._present[track].first
            self._tell("disappeared", track, seconds, shown=round(shown, 2))
            self._counts[self._label(track)] += 1
            del self._present[track]
            self._tracking.forget(track - self._before)

    def _tell(
        self,
        kind: EventKind,
        track: int,
        seconds: float,
        *,
        direction: Literal["right", "left"] | None = None,
        shown: float | None = None,
    ) -> None:
        self.events.append(
            StreamEvent(
                time=self._moment(seconds),
                kind=kind,
                label=self._label(track),
                track_id=track,
                direction=direction,
                seconds=shown,
            )
        )

    def _moment(self, seconds: float) -> datetime:
        return self._begin + timedelta(seconds=round(seconds, 3))


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
