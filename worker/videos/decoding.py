"""The frames of one part of a video, upright, in RGB and in the order in which they are shown."""

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from shared.videos import TICKS_PER_SECOND, Segment, VideoFacts, VideoOptions
from worker.pixels import Pixels
from worker.videos.containers import VideoFile, open_input
from worker.videos.limits import VideoLimits

#: against times that miss their slot by the rounding of a time base
_SLACK: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that is looked at.

    Args:
        index: its number among all frames of the file, from 0.
        ticks: when it is shown, in `TICKS_PER_SECOND` after the first frame of the file.
        duration: for how long, in ticks.
        pixels: (height, width, 3), RGB, upright, C-contiguous.
    """

    index: int
    ticks: int
    duration: int
    pixels: Pixels


def ticks_of(facts: VideoFacts, pts: int) -> int:
    """A timestamp of the video stream in ticks after the first frame."""
    return round((pts - facts.origin) * Fraction(*facts.time_base) * TICKS_PER_SECOND)


class FrameReader:
    """Decodes a part of a video; iterate over it once.

    A packet that cannot be decoded costs the frames that build upon it: decoding goes on at the next keyframe, since
    what a decoder shows until then is made of guesses. A file that breaks off ends where it does.

    Args:
        file: the video.
        facts: of it.
        segment: the part.
        options: which of its frames are wanted.
        limits: a file that turns out to be longer than it seemed is refused even now.
        threads: of the decoder.
    """

    def __init__(
        self,
        file: VideoFile,
        facts: VideoFacts,
        segment: Segment,
        options: VideoOptions,
        limits: VideoLimits,
        threads: int = 1,
    ) -> None:
        self._file = file
        self._facts = facts
        self._segment = segment
        self._limits = limits
        self._threads = threads
        self._sampler = _Sampler(options, facts, segment)
        self._reformatter = VideoReformatter()
        self._stopped = False
        #: frames decoded so far, wanted or not
        self.decoded = 0
        #: packets that were of no use
        self.damaged = 0
        #: ticks at which the last decoded frame ends
        self.end_ticks = 0

    def __iter__(self) -> Generator[Frame, None, None]:
        for is_last_try in (False, True):
            with open_input(self._file) as container:
                stream = container.streams[self._facts.stream]
                assert isinstance(stream, VideoStream)  # noqa: S101 -- by the facts
                stream.codec_context.options = self._limits.decoder_options
                stream.codec_context.thread_count = self._threads
                stream.codec_context.thread_type = "AUTO"
                packets = self._packets(container, stream, from_beginning=is_last_try)
                first = next(packets, None)
                if first is None and not is_last_try and self._segment.keyframe is not None:
                    continue  # the seek led past it
                yield from self._wanted(self._decode(stream, first, packets))
                return

    def stop(self) -> None:
        """Have the thread that iterates come to an end soon, also where no frame is wanted for long."""
        self._stopped = True

    def _packets(
        self, container: InputContainer, stream: VideoStream, *, from_beginning: bool
    ) -> "Iterator[Packet[VideoStream]]":
        """The packets from the part's keyframe on, to the end of the file; none if a seek missed it."""
        start = self._segment.keyframe
        if start is not None and not from_beginning:
            container.seek(start, stream=stream)
        waiting = start is not None
        try:
            for packet in container.demux(stream):
                if self._stopped:
                    return
                if waiting and not (packet.is_keyframe and packet.pts == start):
                    if not from_beginning and packet.dts is not None and start is not None and packet.dts > start:
                        return
                    continue
                waiting = False
                yield packet
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.damaged += 1

    def _decode(
        self, stream: VideoStream, first: "Packet[VideoStream] | None", packets: "Iterator[Packet[VideoStream]]"
    ) -> Iterator[VideoFrame]:
        context = stream.codec_context
        packet, at_a_loss = first, False
        while packet is not None:
            if not at_a_loss or packet.is_keyframe or not packet.size:
                at_a_loss = False
                try:
                    yield from context.decode(packet if packet.size else None)
                except av.FFmpegError as error:
                    if isinstance(error, MemoryError):
                        raise
                    at_a_loss = True
                    self.damaged += 1
                    context.flush_buffers()  # what it still holds waits for the frame that is missing
                if not packet.size:
                    return
            else:
                self.damaged += 1
            packet = next(packets, None)
        # the file broke off: the decoder still holds some frames
        try:
            yield from context.decode(None)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise

    def _wanted(self, frames: Iterator[VideoFrame]) -> Iterator[Frame]:
        segment, facts = self._segment, self._facts
        tick = Fraction(*facts.time_base) * TICKS_PER_SECOND
        nominal = max(1, round(TICKS_PER_SECOND / facts.fps))
        longest = self._limits.max_seconds * TICKS_PER_SECOND
        work = segment.first_index * facts.width * facts.height
        last = -1 if segment.previous is None else ticks_of(facts, segment.previous)
        for frame in frames:
            if self._stopped:
                return
            if segment.start is not None and (frame.pts is None or frame.pts < segment.start):
                continue
            if segment.end is not None and frame.pts is not None and frame.pts >= segment.end:
                return
            after = last + nominal if last >= 0 else 0
            ticks = ticks_of(facts, frame.pts) if frame.pts is not None else after
            ticks = max(ticks, last + 1)  # times only ever rise, whatever the file says
            last = ticks
            shown = round(frame.duration * tick)  # FFmpeg lets it overflow where a file asks for very much
            duration = shown if 0 < shown <= longest else nominal
            self.end_ticks = ticks + duration
            index = segment.first_index + self.decoded
            self.decoded += 1
            self._limits.check_length(index + 1, ticks / TICKS_PER_SECOND)
            work += frame.width * frame.height  # not that of the first frame: the size may change on the way
            self._limits.check_work(work)
            if self._sampler.is_over(ticks):
                return
            if self._sampler.takes(index, ticks):
                yield Frame(index, ticks, duration, self._pixels(frame))

    def _pixels(self, frame: VideoFrame) -> Pixels:
        facts = self._facts
        width, height = (facts.width, facts.height) if facts.rotation % 2 == 0 else (facts.height, facts.width)
        transparent = any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"
        rgb = self._reformatter.reformat(frame, width, height, "rgba" if transparent else "rgb24").to_ndarray()
        pixels: Pixels = _on_white(rgb) if transparent else rgb.astype(np.uint8, copy=False)
        return np.ascontiguousarray(np.rot90(pixels, facts.rotation))


class _Sampler:
    """Which frames are wanted."""

    def __init__(self, options: VideoOptions, facts: VideoFacts, segment: Segment) -> None:
        self._options = options
        self._start = round(options.start * TICKS_PER_SECOND)
        self._end = round(options.end * TICKS_PER_SECOND) if options.end is not None else None
        self._slot = -1
        if segment.previous is not None:
            previous = ticks_of(facts, segment.previous)
            if previous >= self._start:
                self._slot = self._slot_of(previous)

    def is_over(self, ticks: int) -> bool:
        return self._end is not None and ticks >= self._end

    def takes(self, index: int, ticks: int) -> bool:
        if ticks < self._start:
            return False
        if self._options.fps is None:
            return index % self._options.every == 0
        slot = self._slot_of(ticks)
        taken, self._slot = slot != self._slot, slot
        return taken

    def _slot_of(self, ticks: int) -> int:
        return math.floor(ticks / TICKS_PER_SECOND * (self._options.fps or 1) + _SLACK)


def _on_white(rgba: NDArray[np.uint8 | np.uint16 | np.float16 | np.float32]) -> Pixels:
    """What is transparent shows white, as on a page."""
    opacity = rgba[..., 3:].astype(np.uint16)
    blended = (rgba[..., :3].astype(np.uint16) * opacity + 255 * (255 - opacity) + 127) // 255
    return blended.astype(np.uint8)
