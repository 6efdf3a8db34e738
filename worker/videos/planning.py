"""Cutting a video into parts that can be decoded each by itself.

Nothing is written for it: a part is a pair of timestamps, and whoever does it seeks in the original. Remuxed pieces
would lose what only the original container knows (edit lists, colours, rotation, exact time bases), and then the same
frame would not give the same boxes.
"""

from itertools import pairwise

from shared.videos import Segment, VideoOptions
from worker.videos.probing import Keyframe, Probe


def plan_segments(probe: Probe, options: VideoOptions, target_seconds: float | None = None) -> list[Segment]:
    """Parts of about the same length, in order, that together have every frame that is asked for exactly once.

    Args:
        probe: of the video.
        options: parts before `start` and after `end` are left out.
        target_seconds: how long a part may be; longer where keyframes are rarer. None: do not split.
    """
    facts = probe.facts
    tick = facts.time_base[0] / facts.time_base[1]
    begin = _begin(probe, options.start, tick)
    cuts: list[Keyframe] = []
    if target_seconds is not None:
        until = min(facts.duration, options.end) if options.end is not None else facts.duration
        first = begin.pts if begin else facts.origin
        length = until - (first - facts.origin) * tick
        parts = max(1, round(length / target_seconds))
        for keyframe in probe.keyframes:
            behind = (keyframe.pts - first) * tick
            enough = length * (len(cuts) + 1) / parts
            if behind > 0 and behind >= enough - tick and len(cuts) < parts - 1 and behind < length:
                cuts.append(keyframe)
    starts = [begin, *cuts]
    return [_segment(number, *pair, facts.frames) for number, pair in enumerate(pairwise([*starts, None]))]


def _begin(probe: Probe, start: float, tick: float) -> Keyframe | None:
    """The last keyframe at or before `start`; None: the beginning of the file."""
    before = [keyframe for keyframe in probe.keyframes if (keyframe.pts - probe.facts.origin) * tick <= start]
    return before[-1] if before else None


def _segment(number: int, start: Keyframe | None, end: Keyframe | None, frames: int) -> Segment:
    first = start.index if start else 0
    return Segment(
        number=number,
        start=start.pts if start else None,
        end=end.pts if end else None,
        previous=start.previous if start else None,
        first_index=first,
        frames=max(1, (end.index if end else frames) - first),
    )
