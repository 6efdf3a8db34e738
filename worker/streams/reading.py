"""The newest frame of a stream, at the stream's own pace.

A thread decodes all that comes, since frames build upon each other, and leaves the newest one for whoever looks at
frames. What the model has no time for is dropped before it is turned into pixels. Segments of HLS come in bursts:
frames wait until it is their time, so that a burst is not dropped as a whole.
"""

import threading
import time
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shared.errors import BadInputError
from worker.pixels import Pixels
from worker.streams.opening import Connecting
from worker.videos.containers import has_decoder, pictures_of
from worker.videos.limits import VideoLimits
from worker.videos.probing import quarter_turns

#: seconds that a frame may be before or behind its time; beyond, the stream's clock has jumped
_MOST_AHEAD: Final = 10.0
_MOST_BEHIND: Final = 1.0
#: containers whose timestamps are made up: frames count when they come
_WITHOUT_TIMES: Final = frozenset({"mpjpeg", "mjpeg", "h264", "hevc"})
#: of the time between two frames that are wanted: against the rounding of timestamps
_SLACK: Final = 0.98
_BROKEN: Final = "The stream broke off."


class StreamEndedError(Exception):
    """The stream says that it is over."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame.

    Args:
        time: when it is shown, by `time.monotonic()`.
        frame: as decoded.
    """

    time: float
    frame: VideoFrame

    def pixels(self) -> Pixels:
        """Upright, RGB, (height, width, 3)."""
        rgb = self.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return np.ascontiguousarray(np.rot90(rgb, quarter_turns(self.frame)))


class LiveReader:
    """Reads one connection in a thread of its own.

    Args:
        connecting: not opened yet.
        limits: of a frame's size.
        fps: at most so many frames a second are wanted.
    """

    def __init__(self, connecting: Connecting, limits: VideoLimits, fps: float) -> None:
        self._connecting = connecting
        self._limits = limits
        self._gap = _SLACK / fps
        self._changed = threading.Condition()
        self._newest: LiveFrame | None = None
        self._error: BaseException | None = None
        self._closing = threading.Event()
        self._clock: tuple[float, float] | None = None
        self._has_times = True
        self._last = float("-inf")
        #: frames that nobody had time for
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="stream-reader", daemon=True)
        self._thread.start()

    def newest(self, seconds: float) -> LiveFrame | None:
        """The newest frame, each only once; waits for one for so long.

        Raises:
            BadInputError: the stream could not be opened, or broke off.
            StreamEndedError: it has ended.
        """
        with self._changed:
            if self._newest is None and self._error is None:
                self._changed.wait(seconds)
            found, self._newest = self._newest, None
            if found is None and self._error is not None:
                raise self._error
            return found

    def close(self, seconds: float) -> bool:
        """End it; whether the thread has ended in so many seconds."""
        self._closing.set()
        self._connecting.close()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        error: BaseException
        try:
            with self._connecting.open() as container:
                self._read(container)
            error = StreamEndedError() if self._connecting.is_over else BadInputError("url_failed", _BROKEN)
        except BadInputError as found:
            error = found
        except av.FFmpegError as found:
            error = MemoryError() if isinstance(found, MemoryError) else BadInputError("url_failed", _BROKEN)
        except BaseException as found:  # noqa: BLE001 -- raised where frames are taken
            error = found
        with self._changed:
            self._error = self._connecting.error or error
            self._changed.notify_all()

    def _read(self, container: InputContainer) -> None:
        streams = [stream for stream in pictures_of(container) if has_decoder(stream)]
        if not streams:
            raise BadInputError("no_video_stream", "There are no pictures in the stream.")
        best = container.streams.best("video")
        stream = next((stream for stream in streams if stream is best), streams[0])
        self._has_times = container.format.name not in _WITHOUT_TIMES
        context = stream.codec_context
        context.options = self._limits.decoder_options
        context.thread_count = 1  # frames of several threads come late
        self._decode(container, stream)

    def _decode(self, container: InputContainer, stream: VideoStream) -> None:
        at_a_loss = False
        for packet in container.demux(stream):
            if self._closing.is_set():
                return
            if not packet.size or (at_a_loss and not packet.is_keyframe):
                continue
            at_a_loss = False
            try:
                for frame in stream.codec_context.decode(packet):
                    self._offer(frame)
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                at_a_loss = True  # what builds upon a frame that is missing is made of guesses
                stream.codec_context.flush_buffers()

    def _offer(self, frame: VideoFrame) -> None:
        self._limits.check_size(frame.width, frame.height)
        now = time.monotonic()
        due = self._due(frame, now)
        if due > now:
            self._closing.wait(due - now)
        if due - self._last < self._gap:
            return
        self._last = due
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = LiveFrame(due, frame)
            self._changed.notify_all()

    def _due(self, frame: VideoFrame, now: float) -> float:
        """When a frame is to be shown: as long after the first one as its timestamp says."""
        if not self._has_times or frame.pts is None or frame.time_base is None:
            return now
        stamp = float(frame.pts * frame.time_base)
        if self._clock is not None:
            due = self._clock[1] + stamp - self._clock[0]
            if -_MOST_BEHIND <= due - now <= _MOST_AHEAD:
                return due
        self._clock = stamp, now
        return now
