"""One part of a video: decoded, looked at, drawn and encoded, as a stream.

    decoder thread ──► caller's thread: predict ──► recorder thread: draw, encode, write

Between them wait a few frames at most, so memory does not grow with the length of the video, and the network never
waits for a codec unless that is slower. The function that finds objects is called in the caller's thread only.

What comes out is a `SegmentResult` and, in the given folder, `frames.jsonl` (without numbers of tracks: those need the
parts before), `video.mp4`, `poster.jpg` (the frame with most objects) and `preview-<ticks>.jpg`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from shared.results import Detection
from shared.videos import TICKS_PER_SECOND, FrameDetections, Segment, SegmentResult, VideoFacts, VideoOptions
from worker.drawing import draw_detections, encode_jpeg, thumbnail
from worker.models.detections import Detections
from worker.pixels import Pixels
from worker.videos.channels import Channel, ChannelClosedError
from worker.videos.containers import VideoFile
from worker.videos.decoding import Frame, FrameReader, ticks_of
from worker.videos.encoding import SegmentEncoder
from worker.videos.limits import VideoLimits, frames_waiting

#: pictures in, as many detections out
Predict = Callable[[list[Pixels]], list[Detections]]

#: frames of the short animated preview, over the whole video
PREVIEW_FRAMES: Final = 24
PREVIEW_SIDE: Final = 320
_LIVE_SIDE: Final = 640
_LIVE_QUALITY: Final = 75
_SECONDS_BETWEEN_PREVIEWS: Final = 1.0
_SECONDS_BETWEEN_REPORTS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a part is.

    Args:
        percent: of its frames, from 0 to 100.
        frames: frames looked at.
        frames_per_second: since it began.
        seconds_left: at this speed; None while it cannot be said.
        preview: at most once a second, the newest drawn frame as a small JPEG.
    """

    percent: float
    frames: int
    frames_per_second: float
    seconds_left: float | None
    preview: bytes | None = None


def process_segment(
    file: VideoFile,
    facts: VideoFacts,
    segment: Segment,
    options: VideoOptions,
    predict: Predict,
    folder: Path,
    *,
    limits: VideoLimits | None = None,
    batch: int = 4,
    threads: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> SegmentResult:
    """Do one part.

    Whatever is raised, here, in a thread, in `predict` or in `on_progress`, ends all threads and closes all files
    before it comes out. So an exception is the way to stop.

    Args:
        file: the video; read by one thread of its own.
        facts: of it.
        segment: the part.
        options: which frames, and whether to draw.
        predict: finds objects in pictures of the original's size; called with `batch` of them, the last time fewer.
        folder: an existing folder for the part's files. What is there by their names is overwritten.
        limits: what the file may be.
        batch: pictures in one call of `predict`.
        threads: of the decoder.
        on_progress: told now and then, in the caller's thread.

    Raises:
        BadInputError: the file turns out to be too long.
    """
    begin = time.perf_counter()
    waiting = frames_waiting(facts.width, facts.height)
    reader = FrameReader(file, facts, segment, options, limits or VideoLimits(), threads)
    found: Channel[tuple[Frame, Detections]] = Channel(waiting)
    recorder = _Recorder(folder, facts, segment, options)
    decoding, inference = _Busy(), _Busy()
    reporter = _Reporter(facts, segment, options, on_progress)
    # it may be long until the first frame that is wanted; whoever listens may not want it any more
    decoded: Channel[Frame] = Channel(waiting, lambda: reporter.report(reader.decoded, 0, recorder))
    with ExitStack() as stack:
        stack.enter_context(_thread("decode", lambda: _decode(reader, decoding, decoded), decoded))
        stack.enter_context(_thread("record", lambda: recorder.run(found), found))
        stack.callback(reader.stop)  # before its thread is waited for
        frames = iter(decoded)
        while pictures := list(islice(frames, batch)):
            with inference:
                answers = predict([frame.pixels for frame in pictures])
            for frame, detections in zip(pictures, answers, strict=True):
                found.put((frame, detections))
            reporter.report(reader.decoded, len(pictures), recorder)
        found.close()
    timings = {"decode": decoding, "inference": inference, "draw": recorder.drawing, "encode": recorder.encoding}
    return SegmentResult(
        segment=segment,
        decoded=reader.decoded,
        analysed=recorder.frames,
        damaged=reader.damaged,
        end_time=reader.end_ticks / TICKS_PER_SECOND,
        poster_objects=recorder.poster_objects,
        files=tuple(recorder.files),
        timings_ms={name: round(busy.seconds * 1000, 3) for name, busy in timings.items()}
        | {"total": round((time.perf_counter() - begin) * 1000, 3)},
    )


def analysed_fps(facts: VideoFacts, options: VideoOptions) -> float:
    """Frames a second that are looked at, on average."""
    return min(facts.fps, options.fps) if options.fps is not None else facts.fps / options.every


class _Busy:
    """Seconds spent inside."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._begin

    def measured(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same, while the time that each takes to come is counted."""
        while True:
            with self:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame


@contextmanager
def _thread(
    name: str, work: Callable[[], None], channel: "Channel[Frame] | Channel[tuple[Frame, Detections]]"
) -> Iterator[None]:
    """Run `work` meanwhile. It ends with the block; an error of either side closes the channel between them."""

    def run() -> None:
        try:
            work()
        except ChannelClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 -- raised where the other side reads or writes
            channel.close(error)

    thread = threading.Thread(target=run, name=f"video-{name}", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        channel.close(ChannelClosedError())
        raise
    finally:
        thread.join()
        channel.close()
    channel.check()


def _decode(reader: FrameReader, busy: _Busy, channel: Channel[Frame]) -> None:
    with closing(iter(reader)) as frames:
        for frame in busy.measured(frames):
            channel.put(frame)
    channel.close()


class _Recorder:
    """Takes what was found: writes it down, draws it and encodes it, all in one thread."""

    def __init__(self, folder: Path, facts: VideoFacts, segment: Segment, options: VideoOptions) -> None:
        self._folder = folder
        self._facts = facts
        self._options = options
        self.drawing, self.encoding = _Busy(), _Busy()
        self.frames = 0
        self.poster_objects = 0
        self.files: list[str] = []
        self._poster: Pixels | None = None
        self._start = round(options.start * TICKS_PER_SECOND)
        end = min(facts.duration, options.end) if options.end is not None else facts.duration
        self._preview_gap = max(1.0, (end * TICKS_PER_SECOND - self._start) / PREVIEW_FRAMES)
        before = ticks_of(facts, segment.previous) if segment.previous is not None else -1
        self._preview_slot = self._slot_of(before) if before >= self._start else -1
        self._previews = 0
        self._live: bytes | None = None
        self._live_time = 0.0

    def run(self, found: Channel[tuple[Frame, Detections]]) -> None:
        with ExitStack() as stack:
            lines = stack.enter_context((self._folder / "frames.jsonl").open("wb"))
            encoder: SegmentEncoder | None = None
            for frame, detections in found:
                height, width = frame.pixels.shape[:2]
                document = FrameDetections(
                    index=frame.index,
                    time=round((frame.ticks - self._start) / TICKS_PER_SECOND, 6),
                    detections=detections.to_results((height, width)),
                )
                lines.write(document.model_dump_json(exclude_none=True).encode() + b"\n")
                self.frames += 1
                with self.drawing:
                    drawn = self._draw(frame.pixels, document.detections, detections)
                    self._keep(drawn, frame.ticks, len(detections))
                if self._options.draw:
                    with self.encoding:
                        if encoder is None:
                            encoder = stack.enter_context(self._encoder())
                        encoder.add(drawn, frame.ticks, frame.duration)
            self.files.append("frames.jsonl")
            if encoder is not None:
                self.files.append("video.mp4")
        if self._poster is not None:
            self._write("poster.jpg", encode_jpeg(self._poster))

    def _draw(self, pixels: Pixels, found: list[Detection], detections: Detections) -> Pixels:
        return draw_detections(pixels, found, detections.masks) if self._options.draw else pixels

    def _encoder(self) -> SegmentEncoder:
        fps = analysed_fps(self._facts, self._options)
        return SegmentEncoder(self._folder / "video.mp4", self._facts, self._options.max_side, fps)

    def _keep(self, drawn: Pixels, ticks: int, objects: int) -> None:
        """Keep the frame if it is one for the poster, the preview or the page."""
        if self._poster is None or objects > self.poster_objects:
            self._poster, self.poster_objects = drawn, objects
        slot = self._slot_of(ticks)
        if slot != self._preview_slot and self._previews < PREVIEW_FRAMES:  # more, if all frames claim the same time
            self._preview_slot = slot
            self._previews += 1
            self._write(f"preview-{ticks:012d}.jpg", encode_jpeg(thumbnail(drawn, PREVIEW_SIDE)))
        now = time.perf_counter()
        if now - self._live_time >= _SECONDS_BETWEEN_PREVIEWS:
            self._live_time = now
            self._live = encode_jpeg(thumbnail(drawn, _LIVE_SIDE), _LIVE_QUALITY)

    def _slot_of(self, ticks: int) -> int:
        return int((ticks - self._start) / self._preview_gap)

    def _write(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)
        self.files.append(name)

    def take_live(self) -> bytes | None:
        """The newest drawn frame as a JPEG, if there is one that nobody has taken."""
        live, self._live = self._live, None
        return live


class _Reporter:
    """Tells how far the part is, not too often."""

    def __init__(
        self,
        facts: VideoFacts,
        segment: Segment,
        options: VideoOptions,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        first, last = segment.first_index, segment.first_index + segment.frames
        first = max(first, int(options.start * facts.fps))
        if options.end is not None:
            last = min(last, int(options.end * facts.fps))
        self._skipped = first - segment.first_index
        self._expected = max(1, last - first)
        self._on_progress = on_progress
        self._begin = self._last = time.perf_counter()
        self._frames = 0

    def report(self, decoded: int, pictures: int, recorder: _Recorder) -> None:
        self._frames += pictures
        now = time.perf_counter()
        if self._on_progress is None or now - self._last < _SECONDS_BETWEEN_REPORTS:
            return
        self._last = now
        elapsed = now - self._begin
        done = min(1.0, max(0, decoded - self._skipped) / self._expected)
        left = elapsed * (1 - done) / done if done else None
        self._on_progress(Progress(100 * done, self._frames, self._frames / elapsed, left, recorder.take_live()))
