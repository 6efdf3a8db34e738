"""The parts of a drawn video and the original's sound, put together by packet into a file that browsers play.

The index stands at the beginning (fast start), so that playing begins before the file has come whole.
"""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from shared.videos import TICKS_PER_SECOND
from worker.scratch import FULL
from worker.videos.containers import VideoFile, open_input

#: sound that browsers play from an MP4 file: its packets are taken as they are
_COPIED: Final = frozenset({"aac", "mp3", "opus", "flac"})
_AAC_RATES: Final = (44_100, 48_000)
_AAC_BITS_PER_SECOND: Final = 128_000

#: seconds in the drawn video, and a packet that begins then
_Timed: TypeAlias = "tuple[float, Packet[Any]]"


@dataclass(frozen=True, slots=True)
class Part:
    """An encoded part.

    Args:
        path: of its `video.mp4`, which begins at time 0.
        ticks: when it begins in the whole.
    """

    path: Path
    ticks: int


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of the original.

    Args:
        file: the original.
        stream: index of the stream.
        codec: FFmpeg's name of its codec; empty if it has none.
        start: seconds, by the original's clock, that are 0 in the drawn video.
        length: seconds of the drawn video.
    """

    file: VideoFile
    stream: int
    codec: str
    start: float
    length: float


def write_video(parts: Sequence[Part], sound: Sound | None, path: Path) -> list[str]:
    """Write the whole video.

    Args:
        parts: in order, encoded with the same settings.
        sound: what is to be heard; if it cannot be kept as it is, it is encoded anew (AAC), or left out.
        path: the file to write.

    Returns:
        What a person should know of the sound.

    Raises:
        ValueError: the parts were encoded in different ways: their workers are not of one version.
    """
    if sound is not None and sound.codec:
        if sound.codec in _COPIED and _attempt(parts, sound, path, copy=True):
            return []
        if _attempt(parts, sound, path, copy=False):
            return []
    _write(parts, None, path, copy=False)
    return [] if sound is None else ["The sound is damaged or of an unknown kind: the drawn video has none."]


def _attempt(parts: Sequence[Part], sound: Sound, path: Path, *, copy: bool) -> bool:
    try:
        return _write(parts, sound, path, copy=copy) > 0
    except av.FFmpegError as error:
        if isinstance(error, MemoryError) or error.errno in FULL:  # of which the sound is innocent
            raise
        return False
    except (ValueError, OverflowError):  # PyAV's own checks of layouts, rates and time bases
        return False


def _write(parts: Sequence[Part], sound: Sound | None, path: Path, *, copy: bool) -> int:
    """Returns the number of packets of sound."""
    heard = 0
    with ExitStack() as stack:
        output = stack.enter_context(av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}))
        with av.open(str(parts[0].path)) as first:
            pictures = output.add_stream_from_template(first.streams.video[0])
            pictures.time_base = Fraction(1, TICKS_PER_SECOND)
            kind = _kind(first)
        sources = [_pictures(parts, pictures, kind)]
        if sound is not None:
            original = stack.enter_context(open_input(sound.file))
            sources.append((_copied if copy else _encoded)(original, sound, output))
        for _, packet in heapq.merge(*sources, key=lambda timed: timed[0]):
            heard += packet.stream is not pictures
            output.mux(packet)
    return heard


def _kind(container: InputContainer) -> tuple[object, ...]:
    """What must be the same for all parts, so that one header is right for all."""
    context = container.streams.video[0].codec_context
    return context.name, context.width, context.height, context.extradata


def _pictures(parts: Sequence[Part], stream: av.VideoStream, kind: tuple[object, ...]) -> Iterator[_Timed]:
    for part in parts:
        with av.open(str(part.path)) as container:
            if _kind(container) != kind:
                raise ValueError("the parts were encoded in different ways")
            for packet in container.demux(video=0):
                if packet.pts is None or packet.dts is None:
                    continue
                packet.pts += part.ticks
                packet.dts += part.ticks
                packet.stream = stream
                yield packet.pts / TICKS_PER_SECOND, packet


def _copied(original: InputContainer, sound: Sound, output: OutputContainer) -> Iterator[_Timed]:
    source = original.streams[sound.stream]
    assert isinstance(source, AudioStream)  # noqa: S101 -- by the facts
    stream = output.add_stream_from_template(source)
    return _copy(original, source, stream, sound)


def _copy(original: InputContainer, source: AudioStream, stream: AudioStream, sound: Sound) -> Iterator[_Timed]:
    for packet in original.demux(source):
        if packet.pts is None or packet.time_base is None or not packet.size:
            continue
        time = float(packet.pts * packet.time_base) - sound.start
        if time >= sound.length:
            return
        if time < 0:
            continue
        offset = round(sound.start / packet.time_base)
        packet.pts -= offset
        packet.dts = packet.pts  # sound is shown in the order in which it is stored
        packet.stream = stream
        yield time, packet


def _encoded(original: InputContainer, sound: Sound, output: OutputContainer) -> Iterator[_Timed]:
    source = original.streams[sound.stream]
    assert isinstance(source, AudioStream)  # noqa: S101 -- by the facts
    rate = source.codec_context.sample_rate
    rate = rate if rate in _AAC_RATES else max(_AAC_RATES)
    stream = output.add_stream("aac", rate=rate)
    stream.codec_context.layout = "mono" if source.codec_context.channels == 1 else "stereo"
    stream.codec_context.bit_rate = _AAC_BITS_PER_SECOND
    return _encode(original, source, stream, sound)


def _encode(original: InputContainer, source: AudioStream, stream: AudioStream, sound: Sound) -> Iterator[_Timed]:
    context = stream.codec_context
    resampler = AudioResampler("fltp", context.layout, context.sample_rate, frame_size=1024)
    samples: int | None = None

    def encode(frames: Sequence[av.AudioFrame | None]) -> Iterator[_Timed]:
        nonlocal samples
        for frame in frames:
            if frame is not None:
                frame.pts, frame.time_base = samples, Fraction(1, context.sample_rate)
                samples = (samples or 0) + frame.samples
            for packet in stream.encode(frame):
                if packet.pts is not None and packet.time_base is not None:
                    yield float(packet.pts * packet.time_base), packet

    for packet in original.demux(source):
        try:
            decoded = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            continue  # a damaged moment is left out
        for frame in decoded:
            time = frame.time - sound.start if frame.time is not None else 0.0
            if time >= sound.length:
                break
            if time < 0 and samples is None:
                continue
            if samples is None:
                samples = round(time * context.sample_rate)
            frame.pts = None  # from here on by counting: the sources of odd times are many
            yield from encode(resampler.resample(frame))
    yield from encode([*resampler.resample(None), None])
