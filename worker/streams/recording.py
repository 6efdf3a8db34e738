"""What is kept of a stream: the newest drawn frame, and drawn video in files of some seconds, of which the old go.

A thread of its own draws, encodes and writes. It never holds up who looks at frames: what it has no time for is not
drawn.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np

from shared.results import Detection
from shared.streams import StreamOptions, StreamSegment, StreamState
from shared.videos import TICKS_PER_SECOND, VideoFacts
from worker.drawing import draw_detections, encode_jpeg, thumbnail
from worker.models.detections import Detections
from worker.pixels import Pixels
from worker.videos.encoding import SegmentEncoder
from worker.videos.muxing import Part, write_video

#: frames that wait to be drawn
_WAITING: Final = 3
#: seconds that are waited for room among them
_BLOCKED: Final = 0.5
#: seconds between two newest frames that are written, while somebody looks and while nobody does
_WATCHED_GAP: Final = 0.25
_UNWATCHED_GAP: Final = 5.0
_LATEST_SIDE: Final = 960
_LATEST_QUALITY: Final = 80
#: seconds that the last files may take to be written
_LAST_WRITES: Final = 60.0


class Store(Protocol):
    """Where it is kept. None of these raises because the store is away; they say whether it is there."""

    def put_latest(self, jpeg: bytes) -> bool:
        """Keep the newest frame, in place of the one before."""

    def put_segment(self, number: int, file: Path) -> bool:
        """Keep a piece of video."""

    def drop_segment(self, number: int) -> bool:
        """Forget one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that was looked at.

    Args:
        pixels: (height, width, 3), RGB.
        seconds: after the beginning of the stream; more than for the frame before.
        found: what is in it, with numbers of tracks.
        detections: the same as arrays, for the masks.
    """

    pixels: Pixels
    seconds: float
    found: list[Detection]
    detections: Detections


@dataclass(slots=True)
class _Open:
    """The piece that is being written."""

    encoder: SegmentEncoder
    path: Path
    size: tuple[int, int]
    begin: float
    last: float
    frames: int = 0


class Recorder:
    """Draws and writes.

    Args:
        folder: an empty one, for files on their way.
        options: longest side, frames a second.
        length: seconds of a piece.
        kept: seconds of drawn video that are kept.
        store: where to.
        state: what an attempt before has kept.
        is_watched: whether somebody looks at the newest frame.
    """

    def __init__(
        self,
        folder: Path,
        options: StreamOptions,
        length: float,
        kept: float,
        store: Store,
        state: StreamState,
        is_watched: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._options = options
        self._length = length
        self._kept = kept
        self._store = store
        self._begin = state.started_at
        self._is_watched = is_watched
        self._segments = list(state.segments)
        self._lock = threading.Lock()
        #: number of the newest piece, kept or not
        self.last_segment = state.last_segment
        self._open: _Open | None = None
        self._latest = float("-inf")
        self._error: BaseException | None = None
        self._items: queue.Queue[Seen | None] = queue.Queue(_WAITING)
        self._ended = threading.Event()
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="stream-recorder", daemon=True)
        self._thread.start()

    @property
    def segments(self) -> list[StreamSegment]:
        """The pieces that are kept, by number."""
        with self._lock:
            return list(self._segments)

    def add(self, seen: Seen) -> bool:
        """Draw and write a frame, if there is time for it. Raises what the thread has died of."""
        if self._error is not None:
            raise self._error
        try:
            self._items.put(seen, timeout=_BLOCKED)
        except queue.Full:
            return False
        return True

    def cut(self) -> None:
        """End the piece: the stream has broken off. Raises what the thread has died of."""
        if self._error is not None:
            raise self._error
        self._items.put(None)

    def close(self) -> None:
        """Write what is open, and end. Raises what the thread has died of."""
        self._ended.set()
        self._thread.join(_LAST_WRITES)
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """End without writing anything more."""
        self._abandoned = True
        self._ended.set()
        self._thread.join(_LAST_WRITES)

    def _run(self) -> None:
        try:
            while not self._abandoned:
                try:
                    seen = self._items.get(timeout=0.2)
                except queue.Empty:
                    if self._ended.is_set():
                        break
                    continue
                if seen is None:
                    self._finish()
                else:
                    self._take(seen)
            if not self._abandoned:
                self._finish()
            elif self._open is not None:
                self._open.encoder.__exit__(None, None, None)
        except BaseException as error:  # noqa: BLE001 -- raised where frames are added
            self._error = error
            while not self._items.empty():
                self._items.get_nowait()

    def _take(self, seen: Seen) -> None:
        drawn = draw_detections(seen.pixels, seen.found, seen.detections.masks)
        draw_places(drawn, self._options)
        now = time.monotonic()
        if now - self._latest >= (_WATCHED_GAP if self._is_watched() else _UNWATCHED_GAP):
            self._latest = now
            side = min(_LATEST_SIDE, self._options.max_side)
            self._store.put_latest(encode_jpeg(thumbnail(drawn, side), _LATEST_QUALITY))
        if self._kept:
            self._encode(drawn, seen.seconds)

    def _encode(self, drawn: Pixels, seconds: float) -> None:
        height, width = drawn.shape[:2]
        piece = self._open
        if piece is not None and (piece.size != (width, height) or seconds - piece.begin >= self._length):
            self._finish()
            piece = None
        if piece is None:
            piece = self._open = self._begin_piece((width, height), seconds)
        ticks = round((seconds - piece.begin) * TICKS_PER_SECOND)
        piece.encoder.add(drawn, ticks, round(TICKS_PER_SECOND / self._options.fps))
        piece.last = seconds
        piece.frames += 1

    def _begin_piece(self, size: tuple[int, int], seconds: float) -> _Open:
        path = self._folder / "piece.mp4"
        facts = VideoFacts(
            format="live",
            codec="",
            pixel_format="rgb24",
            width=size[0],
            height=size[1],
            rotation=0,
            fps=self._options.fps,
            frames=1,
            duration=self._length,
            stream=0,
            time_base=(1, TICKS_PER_SECOND),
            origin=0,
        )
        encoder = SegmentEncoder(path, facts, self._options.max_side, self._options.fps)
        return _Open(encoder.__enter__(), path, size, seconds, seconds)

    def _finish(self) -> None:
        piece, self._open = self._open, None
        if piece is None:
            return
        piece.encoder.__exit__(None, None, None)
        whole = self._folder / "segment.mp4"
        write_video([Part(piece.path, 0)], None, whole)  # with its index in front
        number = self.last_segment + 1
        if self._store.put_segment(number, whole):
            segment = StreamSegment(
                number=number,
                started_at=self._begin + timedelta(seconds=round(piece.begin, 3)),
                seconds=round(piece.last - piece.begin + 1 / self._options.fps, 3),
                bytes=whole.stat().st_size,
                frames=piece.frames,
            )
            with self._lock:
                self._segments.append(segment)
                self.last_segment = number
        self._drop_old()

    def _drop_old(self) -> None:
        segments = self.segments
        total = sum(each.seconds for each in segments)
        for oldest in segments[:-1]:
            if total - oldest.seconds < self._kept or not self._store.drop_segment(oldest.number):
                return
            total -= oldest.seconds
            with self._lock:
                self._segments.remove(oldest)


def draw_places(pixels: Pixels, options: StreamOptions) -> None:
    """Draw the line and the zone that are counted at, white on black, so that they are seen on anything."""
    size = np.array([pixels.shape[1], pixels.shape[0]])
    width = max(1, round(max(pixels.shape) / 400))
    places = [(np.reshape(options.line, (2, 2)), False)] if options.line is not None else []
    if options.zone is not None:
        places.append((np.array(options.zone), True))
    for shares, closed in places:
        points = np.rint(shares * size).astype(np.int32).reshape(-1, 1, 2)
        for thickness, colour in ((3 * width, (0, 0, 0)), (width, (255, 255, 255))):
            cv2.polylines(pixels, [points], closed, colour, thickness, cv2.LINE_AA)
