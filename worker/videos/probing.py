"""Finding out what a video holds, without trusting what its header says.

All packets are read, which costs no more than reading the file, and one frame is decoded. So length and number of
frames are those of the file, whatever the header claims, and the places where it can be cut are known.
"""

import math
from array import array
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shared.errors import BadInputError
from shared.videos import VideoFacts
from worker.videos.boxes import check_boxes
from worker.videos.containers import VideoFile, has_decoder, open_input, pictures_of
from worker.videos.limits import VideoLimits

#: keyframes closer than this to the last one are not remembered: some videos have nothing else
_SECONDS_BETWEEN_KEYFRAMES: Final = 0.5
#: frames a second where the file does not say and cannot be asked
_DEFAULT_FPS: Final = 25.0
_HIGHEST_FPS: Final = 1000.0
#: a packet further from the one with the same time than this would be no double
_RECENT: Final = 64


@dataclass(slots=True)
class Keyframe:
    """A frame that needs no other, with which a part of the video can begin.

    Args:
        pts: when it is shown, in the stream's time base.
        index: frames shown before it.
        previous: pts of the last frame before it.
    """

    pts: int
    index: int
    previous: int


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found out.

    Args:
        facts: of the file.
        keyframes: where it can be cut, in order; without the very first. Empty where its timestamps are not sound
            enough to give every frame to exactly one part.
        times: pts of all frames in the order in which they are shown; empty where `keyframes` must be.
    """

    facts: VideoFacts
    keyframes: tuple[Keyframe, ...]
    times: "array[int]"


def probe(file: VideoFile, limits: VideoLimits) -> Probe:
    """Look at a video as a whole.

    Raises:
        BadInputError: `bad_video`, `no_video_stream`, `no_frames`, `too_long`, `too_many_pixels` or `bad_aspect`.
    """
    check_boxes(file, limits.max_frames)
    with open_input(file) as container:
        candidates = pictures_of(container)
        if not candidates:
            raise BadInputError("no_video_stream", "The file has no pictures: it holds sound or text only.")
        best = container.streams.best("video")
        stream = best if isinstance(best, VideoStream) and best in candidates else candidates[0]
        if not has_decoder(stream):
            raise BadInputError("bad_video", "The video is of a kind that cannot be decoded.")
        limits.check_size(stream.codec_context.width, stream.codec_context.height)
        index, sound = stream.index, _sound_of(container, stream)
        scan = _Scan(stream, limits, stream.codec_context.width * stream.codec_context.height)
        scan.read(container, stream)
        declared = _declared(container, stream)
        container_name, streams, rate = container.format.name, len(candidates), stream.guessed_rate
    with open_input(file) as container:
        stream = container.streams[index]  # type: ignore[assignment]
        frame = _first_frame(container, stream, limits)
        turns = quarter_turns(frame)
        aspect = stream.codec_context.sample_aspect_ratio or Fraction(1)
        codec, time_base = stream.codec_context.codec.canonical_name, stream.time_base or Fraction(1, av.time_base)
    upright = (frame.width, frame.height) if turns % 2 == 0 else (frame.height, frame.width)
    fps, duration = _speed(scan, time_base, rate)
    limits.check_length(scan.frames, duration)
    limits.check_work(scan.frames * frame.width * frame.height)
    facts = VideoFacts(
        format=container_name,
        codec=codec,
        pixel_format=frame.format.name,
        width=upright[0],
        height=upright[1],
        rotation=turns,
        sample_aspect=_aspect(aspect, turns),
        fps=fps,
        frames=max(scan.frames, 1),
        duration=duration,
        declared=declared,
        stream=index,
        streams=streams,
        time_base=(time_base.numerator, time_base.denominator),
        origin=frame.pts if frame.pts is not None else 0,
        audio=sound[0] if sound else None,
        audio_codec=sound[1] if sound else None,
    )
    if not scan.sound:
        return Probe(facts, (), array("q"))
    return Probe(facts, tuple(scan.keyframes), array("q", sorted(scan.times)))


def quarter_turns(frame: VideoFrame) -> int:
    """Quarter turns counterclockwise that make a frame upright, by the display matrix of its file: 0 to 3."""
    return round(frame.rotation / 90) % 4


def _sound_of(container: InputContainer, pictures: VideoStream) -> tuple[int, str] | None:
    sound = container.streams.best("audio", related=pictures)
    if sound is None:
        return None
    return sound.index, sound.codec_context.codec.canonical_name if has_decoder(sound) else ""


def _declared(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of pictures that the header says; nothing if it speaks of all streams together, and there is sound."""
    seconds = 0.0
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration and not container.streams.audio:
        seconds = container.duration / av.time_base
    return seconds if 0 < seconds < math.inf else None


def _aspect(aspect: Fraction, turns: int) -> tuple[int, int]:
    if not Fraction(1, 10) <= aspect <= 10:
        return 1, 1
    return (aspect.numerator, aspect.denominator) if turns % 2 == 0 else (aspect.denominator, aspect.numerator)


@dataclass
class _Scan:
    """Reads all packets of the video stream."""

    stream: VideoStream
    limits: VideoLimits
    pixels: int
    """of a frame, as the header says"""
    frames: int = 0
    keyframes: list[Keyframe] = field(default_factory=list)
    sound: bool = True
    """whether timestamps tell all frames apart, and a seek can find a keyframe again"""
    first: int | None = None
    last: int | None = None
    last_duration: int = 0
    times: "array[int]" = field(default_factory=lambda: array("q"))
    _recent: deque[int] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def read(self, container: InputContainer, stream: VideoStream) -> None:
        time_base = stream.time_base or Fraction(1, av.time_base)
        gap = int(_SECONDS_BETWEEN_KEYFRAMES / time_base)
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    self._take(packet, gap)
                    self.limits.check_length(self.frames, float((self.last or 0) - (self.first or 0)) * time_base)
                    self.limits.check_work(self.frames * self.pixels)
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.sound = False  # the file ends in the middle of something: whoever decodes it finds out what is there

    def _take(self, packet: "Packet[VideoStream]", gap: int) -> None:
        pts = packet.pts
        if pts is None or pts in self._recent:
            self.sound = False
        self.frames += 1
        if pts is None:
            return
        self._recent.append(pts)
        self.times.append(pts)
        newest = self.keyframes[-1] if self.keyframes else None
        if newest is not None and pts < newest.pts:  # stored after it, shown before it: an open group of pictures
            newest.index += 1
            newest.previous = max(newest.previous, pts)
        elif (
            packet.is_keyframe
            and self.last is not None
            and pts > self.last
            and pts - (newest.pts if newest else self.first or 0) >= gap
        ):
            self.keyframes.append(Keyframe(pts, self.frames - 1, self.last))
        if self.first is None or pts < self.first:
            self.first = pts
        if self.last is None or pts > self.last:
            self.last = pts
            self.last_duration = max(packet.duration or 0, 0)  # below 0 where it has overflowed


def _speed(scan: _Scan, time_base: Fraction, rate: Fraction | None) -> tuple[float, float]:
    """Frames a second and duration in seconds, by the timestamps where there are any."""
    guessed = float(rate) if rate and 0 < rate <= _HIGHEST_FPS else _DEFAULT_FPS
    if scan.first is None or scan.last is None or scan.last <= scan.first or scan.frames < 2:
        duration = float(scan.last_duration * time_base) or 1 / guessed
        return guessed, max(duration, scan.frames / guessed)
    span = float((scan.last - scan.first) * time_base)
    fps = min((scan.frames - 1) / span, _HIGHEST_FPS)
    return fps, span + (float(scan.last_duration * time_base) or 1 / fps)


def _first_frame(container: InputContainer, stream: VideoStream, limits: VideoLimits) -> VideoFrame:
    stream.codec_context.options = limits.decoder_options
    try:
        for packet in container.demux(stream):
            try:
                for frame in packet.decode():
                    limits.check_size(frame.width, frame.height)
                    return frame
            except av.FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
    raise BadInputError("no_frames", "No frame of the video can be decoded.")
