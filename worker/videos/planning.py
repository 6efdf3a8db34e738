"""Cutting a video into parts that can be decoded each by itself.

Nothing is written for it: a part is a pair of timestamps, and whoever does it seeks in the original. Remuxed pieces
would lose what only the original container knows (edit lists, colours, rotation, exact time bases), and then the same
frame would not give the same boxes.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from shared.videos import Segment, VideoOptions
from worker.videos.probing import Keyframe, Probe

#: a keyframe is as good as the place where a cut would be best if it is no further from it than this share of a part
_NEAR: Final = 0.5


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a part begins.

    Args:
        pts: of its first frame.
        index: frames shown before it.
        previous: pts of the last of them.
        keyframe: pts of the keyframe from which on it can be decoded; None: only from the beginning.
    """

    pts: int
    index: int
    previous: int
    keyframe: int | None


def plan_segments(
    probe: Probe, options: VideoOptions, target_seconds: float | None = None, *, most_in_vain: int = 0
) -> list[Segment]:
    """Parts of about the same length, in order, that together have every frame that is asked for exactly once.

    Args:
        probe: of the video.
        options: parts before `start` and after `end` are left out.
        target_seconds: how long a part should be. None: do not split.
        most_in_vain: frames that a part may decode only to get to its first one. Without any, parts begin with
            keyframes, and are longer where these are rarer.
    """
    facts = probe.facts
    tick = facts.time_base[0] / facts.time_base[1]
    begin = _begin(probe, options.start, tick)
    cuts: list[Cut] = []
    if target_seconds is not None and probe.times:
        until = min(facts.duration, options.end) if options.end is not None else facts.duration
        first = begin.pts if begin else facts.origin
        length = until - (first - facts.origin) * tick
        parts = max(1, round(length / target_seconds))
        last = begin.index if begin else 0
        for number in range(1, parts):
            best = first + length * number / parts / tick
            cut = _cut(probe, best, _NEAR * length / parts / tick, most_in_vain)
            if cut is not None and cut.index > last and (cut.pts - first) * tick < length:
                cuts.append(cut)
                last = cut.index
    starts = [begin, *cuts]
    return [_segment(number, *pair, facts.frames) for number, pair in enumerate(pairwise([*starts, None]))]


def _cut(probe: Probe, best: float, near: float, most_in_vain: int) -> Cut | None:
    """A keyframe near the best place (a pts), else a frame there, if that costs not too much, else a later keyframe."""
    place = bisect_left(probe.keyframes, best, key=lambda keyframe: keyframe.pts)
    around = probe.keyframes[max(0, place - 1) : place + 1]
    nearest = min(around, key=lambda keyframe: abs(keyframe.pts - best), default=None)
    if nearest is not None and abs(nearest.pts - best) <= near:
        return _at(nearest)
    before = probe.keyframes[place - 1] if place else None
    index = bisect_left(probe.times, best)
    if 0 < index < len(probe.times) and index - (before.index if before else 0) <= most_in_vain:
        return Cut(probe.times[index], index, probe.times[index - 1], before.pts if before else None)
    return _at(probe.keyframes[place]) if place < len(probe.keyframes) else None


def _at(keyframe: Keyframe) -> Cut:
    return Cut(keyframe.pts, keyframe.index, keyframe.previous, keyframe.pts)


def _begin(probe: Probe, start: float, tick: float) -> Cut | None:
    """The last keyframe at or before `start`; None: the beginning of the file."""
    before = [keyframe for keyframe in probe.keyframes if (keyframe.pts - probe.facts.origin) * tick <= start]
    return _at(before[-1]) if before else None


def _segment(number: int, start: Cut | None, end: Cut | None, frames: int) -> Segment:
    first = start.index if start else 0
    return Segment(
        number=number,
        start=start.pts if start else None,
        keyframe=start.keyframe if start else None,
        end=end.pts if end else None,
        previous=start.previous if start else None,
        first_index=first,
        frames=max(1, (end.index if end else frames) - first),
    )
