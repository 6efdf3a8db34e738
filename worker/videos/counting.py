"""Who crosses a line, who is inside a zone, and how many of each label there are at a time.

A box stands where the middle of its lower edge is: that is where a person's feet are and a car's wheels. The lines and
zones of tracking libraries forget on which side an object was when it is hidden for two frames, and a tree beside the
line is enough for that; here a crossing is found whenever the way from the last place to the next one leads over it.
"""

import math
from collections import Counter, defaultdict
from typing import Final, Literal, TypeAlias

from shared.results import Detection
from shared.videos import FrameDetections, LineCounts, Point, Timeline, VideoOptions, ZoneCounts
from worker.videos.tracking import Tracking

#: x1, y1, x2, y2 in shares of the picture
Line: TypeAlias = tuple[float, float, float, float]

#: what a page can still plot
_MOST_BINS: Final = 300


def foot(detection: Detection, size: tuple[int, int]) -> Point:
    """The middle of the lower edge as shares of a picture of `size` (width, height)."""
    left, _, right, bottom = detection.box
    return (left + right) / 2 / size[0], bottom / size[1]


def side(line: Line, point: Point) -> float:
    """More than 0 to the right of who looks from the line's first end to its second (y grows downwards)."""
    x1, y1, x2, y2 = line
    return (x2 - x1) * (point[1] - y1) - (y2 - y1) * (point[0] - x1)


def crosses(line: Line, before: Point, after: Point) -> bool:
    """Whether the straight way between two points that lie on different sides of the line leads over it."""
    x1, y1, x2, y2 = line
    way = (*before, *after)
    return side(way, (x1, y1)) * side(way, (x2, y2)) <= 0


class Crossing:
    """Follows one object along a line.

    Args:
        line: from its first end to its second.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._before: Point | None = None
        """the last place beside the line, never upon it"""

    def step(self, place: Point) -> Literal["right", "left"] | None:
        """Where the object is now. To which side it has crossed the line, if it has."""
        now = side(self._line, place)
        if now == 0:
            return None
        before, self._before = self._before, place
        if before is None or (side(self._line, before) > 0) == (now > 0) or not crosses(self._line, before, place):
            return None
        return "right" if now > 0 else "left"


def inside(corners: tuple[Point, ...], point: Point) -> bool:
    """Whether a point is inside a polygon, by the edges that a ray from it to the right meets."""
    x, y = point
    result = False
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            result = not result
    return result


class Counting:
    """Counts while frames go by.

    Args:
        options: `line` and `zone`.
        size: width and height of the frames.
    """

    def __init__(self, options: VideoOptions, size: tuple[int, int]) -> None:
        self._line = options.line
        self._zone = options.zone
        self._size = size
        self._crossings: dict[int, Crossing] = {}
        """per track"""
        self._crossed: dict[Literal["right", "left"], list[int]] = {"right": [], "left": []}
        """tracks, once for each time"""
        self._entered: set[int] = set()
        self._most_inside = 0
        self._seconds: dict[str, dict[int, int]] = defaultdict(dict)

    def add(self, frame: FrameDetections) -> None:
        """Count what is in the next frame."""
        second = math.floor(frame.time)
        for label, count in Counter(detection.label for detection in frame.detections).items():
            seconds = self._seconds[label]
            seconds[second] = max(seconds.get(second, 0), count)
        present = 0
        for detection in frame.detections:
            if detection.track_id is None:
                continue
            place = foot(detection, self._size)
            if self._line is not None:
                crossing = self._crossings.setdefault(detection.track_id, Crossing(self._line))
                if (direction := crossing.step(place)) is not None:
                    self._crossed[direction].append(detection.track_id)
            if self._zone is not None and inside(self._zone, place):
                self._entered.add(detection.track_id)
                present += 1
        self._most_inside = max(self._most_inside, present)

    def line(self, tracking: Tracking) -> LineCounts | None:
        """The line's counts, with the labels that tracks have in the end."""
        if self._line is None:
            return None
        right, left = (tracking.counts(self._crossed[direction]) for direction in ("right", "left"))
        return LineCounts(line=self._line, to_right=right, to_left=left)

    def zone(self, tracking: Tracking) -> ZoneCounts | None:
        """The zone's counts, with the labels that tracks have in the end."""
        if self._zone is None:
            return None
        return ZoneCounts(zone=self._zone, entered=tracking.counts(sorted(self._entered)), most=self._most_inside)

    def timeline(self, duration: float) -> Timeline:
        """The most of each label at the same time, in bins of whole seconds."""
        width = max(1, math.ceil(duration / _MOST_BINS))
        bins = max(1, math.ceil(duration / width))
        most: dict[str, list[int]] = {}
        for label in sorted(self._seconds, key=lambda label: (-max(self._seconds[label].values()), label)):
            values = [0] * bins
            for second, count in self._seconds[label].items():
                place = min(second // width, bins - 1)
                values[place] = max(values[place], count)
            most[label] = values
        return Timeline(seconds=width, most=most)
