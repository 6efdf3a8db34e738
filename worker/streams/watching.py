"""A stream from its first connection to its end: looks at frames, connects again when it breaks off, tells how it is.

Nothing here knows of a queue or of storage.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, Literal

from shared.errors import BadInputError
from shared.safe_http import SafeClient
from shared.stream_urls import StreamUrl
from shared.streams import EVENTS_TOLD, StreamOptions, StreamPhase, StreamProgress, StreamState
from worker.models.detections import Detections
from worker.pixels import Pixels
from worker.streams.opening import Connecting
from worker.streams.reading import LiveFrame, LiveReader, StreamEndedError
from worker.streams.recording import Recorder, Seen
from worker.streams.scene import Scene
from worker.streams.sources import Patience
from worker.videos.limits import VideoLimits

log = logging.getLogger(__name__)

Reason = Literal["stopped", "limit", "ended"]
End = Reason | Literal["left"]

#: seconds between two reports
_REPORT_GAP: Final = 1.0
#: seconds for which one wait lasts
_BREATH: Final = 0.25
#: seconds that the last connection has to end
_LAST_BREATH: Final = 2.0
#: seconds that a connection must last to be no failed attempt
_STABLE: Final = 10.0
_FIRST_PAUSE: Final = 1.0
#: seconds over which frames a second are measured
_SPEED_SPAN: Final = 3.0


class Order(Enum):
    """What is wanted of a stream that tells how it is."""

    GO_ON = auto()
    STOP = auto()
    LEAVE = auto()
    """another process goes on with it"""


class StuckError(RuntimeError):
    """A thread cannot be ended: native code hangs. Only the end of the process helps."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be watched.

    Args:
        url: of the stream.
        client: knows which addresses may be connected to.
        options: what is wanted.
        limit: seconds after which it ends.
        patience: how long is waited.
        limits: of the size of frames.
    """

    url: StreamUrl
    client: SafeClient
    options: StreamOptions
    limit: float
    patience: Patience
    limits: VideoLimits


class Watcher:
    """Watches one stream.

    Args:
        plan: what is to be watched.
        state: what an attempt before has seen.
        predict: finds objects in a picture.
        recorder: draws and keeps.
        tell: is told now and then how it is, with the state to be kept; says what is wanted.
    """

    def __init__(
        self,
        plan: Plan,
        state: StreamState,
        predict: Callable[[Pixels], Detections],
        recorder: Recorder,
        tell: Callable[[StreamProgress, StreamState], Order],
    ) -> None:
        self._plan = plan
        self._state = state
        self._predict = predict
        self._recorder = recorder
        self._tell = tell
        self._scene = Scene(plan.options, state)
        self._offset = (datetime.now(UTC) - state.started_at).total_seconds() - time.monotonic()
        self._phase: StreamPhase = "connecting" if not state.connections else "reconnecting"
        self._message = ""
        self._frames = state.frames
        self._connections = state.connections
        self._size = state.size
        self._dropped = 0
        self._times: deque[float] = deque()
        self._last = float("-inf")
        self._told = float("-inf")
        self._order = Order.GO_ON

    def run(self) -> End:
        """Watch until it is told to stop or to leave, until the limit, or until the stream says that it is over.

        Raises:
            BadInputError: `url_refused`; or it could not be connected to even once: `url_failed`, `bad_video`, ...
            StuckError: a thread hangs.
        """
        failures, first_try = 0, time.monotonic()
        while True:
            if (reason := self._over()) is not None:
                return reason
            begin = time.monotonic()
            try:
                reason = self._follow()
            except StreamEndedError:
                reason = "ended"
            except BadInputError as error:
                self._break_off(error, begin - first_try)
                failures = 0 if time.monotonic() - begin > _STABLE else failures + 1
                self._pause(failures)
                continue
            if reason is not None:
                return reason

    def state(self) -> StreamState:
        """What is known up to now."""
        known = self._state.model_copy(
            update={
                "frames": self._frames,
                "connections": self._connections,
                "segments": self._recorder.segments,
                "last_segment": self._recorder.last_segment,
                "size": self._size,
            }
        )
        return self._scene.update(known)

    def seconds(self) -> float:
        """Since the beginning, also of the attempts before."""
        return time.monotonic() + self._offset

    def _follow(self) -> End | None:
        """Watch over one connection. Raises what it ends with."""
        plan = self._plan
        reader = LiveReader(Connecting(plan.url, plan.client, plan.patience), plan.limits, plan.options.fps)
        silent = plan.patience.connect + plan.patience.idle
        dropped, last, is_first = self._dropped, time.monotonic(), True
        try:
            while (reason := self._over()) is None:
                live = reader.newest(_BREATH)
                self._dropped = dropped + reader.dropped
                if live is not None:
                    last = time.monotonic()
                    if is_first:
                        is_first = False
                        self._connected()
                    self._look(live)
                elif time.monotonic() - last > silent:
                    raise BadInputError("url_failed", "No picture has come for a while.")
                self._report()
            return reason
        except BadInputError:
            # one that is just connecting ends by itself; what hangs for longer never does
            if not reader.close(silent):
                raise StuckError("the reader of a stream hangs") from None
            raise
        finally:
            reader.close(_LAST_BREATH)

    def _connected(self) -> None:
        self._connections += 1
        self._phase, self._message = "running", ""
        self._scene.note("connected", self.seconds())
        self._report(now=True)

    def _look(self, live: LiveFrame) -> None:
        seconds = live.time + self._offset
        if seconds <= self._last:
            return
        self._last = seconds
        pixels = live.pixels()
        height, width = pixels.shape[:2]
        self._size = width, height
        detections = self._predict(pixels)
        found = self._scene.add(self._frames, seconds, detections.to_results((height, width)), (width, height))
        self._recorder.add(Seen(pixels, seconds, found, detections))
        self._frames += 1
        now = time.monotonic()
        self._times.append(now)
        while now - self._times[0] > _SPEED_SPAN:
            self._times.popleft()

    def _break_off(self, error: BadInputError, tried: float) -> None:
        """Note that the connection is lost. Raises the error again if another attempt would not help."""
        never = not self._connections
        if error.code == "url_refused" or (never and (error.code != "url_failed" or tried > self._plan.patience.first)):
            raise error
        log.info("stream %s: %s", self._plan.url.public, error.message)
        if self._phase == "running":
            self._recorder.cut()
            self._scene.interrupt()
            self._scene.note("lost", self.seconds(), error.message)
        self._phase = "connecting" if never else "reconnecting"
        self._message = error.message
        self._times.clear()
        self._report(now=True)

    def _pause(self, failures: int) -> None:
        pause = min(self._plan.patience.longest_pause, _FIRST_PAUSE * 2.0 ** min(max(0, failures - 1), 10))
        end = time.monotonic() + pause * random.uniform(0.75, 1)  # noqa: S311
        while time.monotonic() < end and self._over() is None:
            time.sleep(_BREATH)
            self._report()

    def _over(self) -> End | None:
        if self._order is not Order.GO_ON:
            return "stopped" if self._order is Order.STOP else "left"
        return "limit" if self.seconds() >= self._plan.limit else None

    def _report(self, *, now: bool = False) -> None:
        moment = time.monotonic()
        if not now and moment - self._told < _REPORT_GAP:
            return
        self._told = moment
        span = min(_SPEED_SPAN, max(1.0, moment - self._times[0])) if self._times else 1.0
        progress = StreamProgress(
            phase=self._phase,
            fps=round(len(self._times) / span, 1),
            seconds=round(self.seconds(), 1),
            limit=int(self._plan.limit),
            frames=self._frames,
            dropped=self._dropped,
            now=self._scene.now,
            totals=self._scene.totals(),
            events=list(self._scene.events)[-EVENTS_TOLD:],
            segments=self._recorder.last_segment,
            message=self._message,
        )
        order = self._tell(progress, self.state())
        if order is not Order.GO_ON:
            self._order = order
