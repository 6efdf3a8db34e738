"""Which detections of following frames are the same object: ByteTrack, and what is told of each object.

Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box" (ECCV 2022): boxes that the detector
is sure of are matched first, the others may only continue a track. Objects are matched by place alone, whatever their
label: a van that is a car in one frame and a truck in the next stays one object, and gets the label that it had most.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import supervision
from trackers import ByteTrackTracker

from shared.results import Detection, count_labels
from shared.videos import FrameDetections, Track

#: of the detector's scores, as in the paper: from here on a box is matched first, and may begin a track
_SURE: Final = 0.6
#: seconds for which an object that is hidden keeps its number
_PATIENCE: Final = 2.0
#: frames in which an object must be seen one after the other to be one
_LEAST_FRAMES: Final = 3
#: intersection over union of a box and the place where its object is expected
_LEAST_OVERLAP: Final = 0.1
#: the library gives its patience in frames of this rate
_REFERENCE_FPS: Final = 30
#: result documents stay readable: of more tracks only the longest are listed
_MOST_LISTED: Final = 5000


@dataclass(slots=True)
class _Story:
    first: float
    last: float
    frames: int = 0
    score: float = 0.0
    labels: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))


class Tracking:
    """Follows objects from frame to frame.

    Args:
        fps: frames that come a second, on average.
    """

    def __init__(self, fps: float) -> None:
        self._tracker = ByteTrackTracker(
            lost_track_buffer=round(_PATIENCE * _REFERENCE_FPS),
            frame_rate=fps,
            track_activation_threshold=_SURE,
            minimum_consecutive_frames=_LEAST_FRAMES,
            minimum_iou_threshold=_LEAST_OVERLAP,
            high_conf_det_threshold=_SURE,
        )
        self._stories: dict[int, _Story] = {}

    def follow(self, frame: FrameDetections) -> FrameDetections:
        """The same frame with the number of its track for each detection that belongs to one, from 1.

        An object has a number from the third frame on in which it is seen without a gap.

        Args:
            frame: the next one; its time is after that of the frame before.
        """
        found = frame.detections
        tracked = self._tracker.update(
            supervision.Detections(
                xyxy=np.array([detection.box for detection in found], np.float32).reshape(-1, 4),
                confidence=np.array([detection.score for detection in found], np.float32),
                data={"place": np.arange(len(found))},
            ),
            timestamp=frame.time,
        )
        if not found or tracked.tracker_id is None:
            return frame
        numbered = list(found)
        for place, number in zip(tracked.data["place"], tracked.tracker_id.tolist(), strict=True):
            if number >= 0:
                numbered[place] = found[place].model_copy(update={"track_id": number + 1})
                self._note(number + 1, found[place], frame.time)
        return frame.model_copy(update={"detections": numbered})

    def _note(self, number: int, detection: Detection, time: float) -> None:
        story = self._stories.setdefault(number, _Story(time, time))
        story.last = time
        story.frames += 1
        story.score = max(story.score, detection.score)
        story.labels[detection.label, detection.class_id] += detection.score

    def forget(self, number: int) -> None:
        """Drop what is known of an object that is gone, for who follows a stream that has no end."""
        del self._stories[number]

    def label(self, number: int) -> str:
        """The label that a track has most."""
        return self._identity(self._stories[number])[0]

    def counts(self, numbers: Iterable[int] | None = None) -> dict[str, int]:
        """Different objects per label, most frequent first: of these tracks, or of all."""
        return count_labels(self.label(number) for number in (self._stories if numbers is None else numbers))

    def tracks(self) -> tuple[list[Track], int]:
        """The tracks by number, and how many short ones were left out of the list."""
        listed = sorted(self._stories.items(), key=lambda item: (-item[1].frames, item[0]))[:_MOST_LISTED]
        tracks = [self._track(number, story) for number, story in sorted(listed)]
        return tracks, len(self._stories) - len(tracks)

    def _track(self, number: int, story: _Story) -> Track:
        label, class_id = self._identity(story)
        return Track(
            id=number,
            label=label,
            class_id=class_id,
            score=story.score,
            first=story.first,
            last=story.last,
            frames=story.frames,
        )

    def _identity(self, story: _Story) -> tuple[str, int]:
        return max(story.labels.items(), key=lambda item: (item[1], item[0]))[0]
