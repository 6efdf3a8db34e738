"""Videos: frames a second, memory, objects counted, and what a second worker brings.

    python -m bench.videos figures --data ../shared/data
    python -m bench.videos memory  --data ../shared/data
    python -m bench.videos split   --data ../shared/data

Every measurement is a process of its own. On a machine that others use, too, look at the CPU times: a worker that has
one core to itself needs as many seconds.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from shared.catalog import CatalogReader
from shared.settings import Settings
from shared.videos import Segment, SegmentResult, VideoFindings, VideoOptions
from worker.engines import select_backend
from worker.models.base import DetectionModel
from worker.models.detections import Detections
from worker.models.registry import load_model
from worker.pixels import Pixels
from worker.videos.decoding import FrameReader
from worker.videos.joining import DonePart, join
from worker.videos.limits import VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import Probe, probe
from worker.videos.processing import process_video
from worker.videos.segments import Predict, process_segment

MODEL = "yolo-fastest-1.1-xl"
VIDEOS = ("traffic.mp4", "one-by-one-person-detection.mp4", "pedestrians-768x576.avi")
LONG, SHORT = 600, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("figures", "memory", "split"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--video", default="one-by-one-person-detection.mp4", help="of split and memory")
    parser.add_argument("--seconds", type=float, default=None, help="of figures and split: only so much")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-videos-") as folder:
        settings = Settings(
            data_dir=Path(folder) / "data",
            weights_dir=arguments.data / "weights",
            weights_source=None,
            engine_cache_dir=Path(folder) / "cache",
            engine="openvino",
            precision="f32",
            threads=1,
            default_model=None,
        )
        videos = arguments.data / "videos"
        if arguments.what == "figures":
            figures(videos, settings, Path(folder), arguments.seconds)
        elif arguments.what == "memory":
            memory(videos / arguments.video, Path(folder))
        else:
            split(videos / arguments.video, settings, Path(folder), arguments.seconds)


# -- each in a process of its own


def in_process(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(settings: Settings) -> Predict:
    select_backend("openvino", threads=1)
    model = load_model(CatalogReader(settings.catalog, None).read()[MODEL], settings)
    assert isinstance(model, DetectionModel)
    model.warm_up()
    return partial(detect, model)


def detect(model: DetectionModel, pictures: list[Pixels]) -> list[Detections]:
    return [model.detect(picture) for picture in pictures]


def nothing_to_compute(pictures: list[Pixels]) -> list[Detections]:
    """One box in each picture, so that only the codecs work."""
    box = np.array([[10, 10, 100, 100]], np.float32)
    return [Detections(box, np.array([0.9], np.float32), np.array([0]), ("thing",)) for _ in pictures]


# -- figures


def figures(videos: Path, settings: Settings, folder: Path, seconds: float | None) -> None:
    in_process(convert, settings)
    print("CPU in ms a frame; on 2 cores: the frames a second that these times allow two free cores")
    print("| video | frames | model | all | frames/s, elapsed | on 2 cores | of the model's | peak MB | objects |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for name in VIDEOS:
        print(in_process(figure, videos / name, settings, folder, seconds), flush=True)


def convert(settings: Settings) -> None:
    """Convert the model, which takes memory once, in a process whose memory is not looked at."""
    load(settings)


def figure(path: Path, settings: Settings, folder: Path, seconds: float | None) -> str:
    """A row of the table: the whole way, and by themselves the decoder and the model on the same frames."""
    predict = load(settings)
    options, probed = VideoOptions(end=seconds), probe(path, VideoLimits())
    begin, begin_cpu = time.perf_counter(), time.process_time()
    findings = process_video(path, probed, options, predict, folder)
    elapsed, whole = time.perf_counter() - begin, time.process_time() - begin_cpu
    megabytes = peak_megabytes()
    (segment,) = plan_segments(probed, options)
    begin_cpu, model = time.process_time(), 0.0
    for frame in FrameReader(path, probed.facts, segment, options, VideoLimits()):
        before = time.process_time()
        predict([frame.pixels])
        model += time.process_time() - before
    decoder = time.process_time() - begin_cpu - model
    slowest = max(model, decoder, whole - model - decoder, whole / 2)
    frames = findings.analysed
    return (
        f"| {path.name} | {frames} | {1000 * model / frames:.1f} | {1000 * whole / frames:.1f} "
        f"| {frames / elapsed:.1f} | {frames / slowest:.1f} | {model / slowest:.2f} "
        f"| {megabytes:.0f} | {findings.object_string} |"
    )


# -- memory


def memory(path: Path, folder: Path) -> None:
    peaks = {}
    for seconds in (SHORT, LONG):
        video = loop(path, folder / f"{seconds}.mp4", seconds)
        frames, peaks[seconds] = in_process(peak_of, video, folder)
        print(f"{seconds} s, {frames} frames: {peaks[seconds]:.1f} MB at most")
    print(f"difference: {peaks[LONG] - peaks[SHORT]:.1f} MB")


def loop(source: Path, path: Path, seconds: float) -> Path:
    """The same video again and again, by packet."""
    with av.open(str(path), "w") as output:
        stream, offset, end = None, 0, 0
        while True:
            with av.open(str(source)) as container:
                template = container.streams.video[0]
                stream = stream or output.add_stream_from_template(template)
                for packet in container.demux(template):
                    if packet.pts is None or packet.dts is None or packet.time_base is None:
                        continue
                    end = max(end, packet.pts + offset + (packet.duration or 0))
                    if (packet.pts + offset) * packet.time_base >= seconds:
                        return path
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = stream
                    output.mux(packet)
            offset = end


def peak_of(path: Path, folder: Path) -> tuple[int, float]:
    findings = process_video(path, probe(path, VideoLimits()), VideoOptions(), nothing_to_compute, folder)
    return findings.analysed, peak_megabytes()


# -- split


def split(path: Path, settings: Settings, folder: Path, seconds: float | None) -> None:
    """One worker with one core against two with one each."""
    in_process(convert, settings)
    options = VideoOptions(end=seconds)
    probed = probe(path, VideoLimits())
    one, two = folder / "one", folder / "two"
    one.mkdir()
    two.mkdir()
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, set_up, (settings, context.Value("i", 0))) as pool:
        begin = time.perf_counter()
        expected, alone_cpu = pool.apply(do_whole, (path, probed, options, one))
        alone = time.perf_counter() - begin
    length = min(seconds or probed.facts.duration, probed.facts.duration)
    segments = plan_segments(probed, options, target_seconds=max(5.0, length / 8))
    with context.Pool(2, set_up, (settings, context.Value("i", 0))) as pool:
        begin = time.perf_counter()
        done = pool.map(partial(do_part, path, probed, options, two), segments, chunksize=1)
        workers = time.perf_counter() - begin
        findings, join_cpu = pool.apply(do_join, (path, probed, options, [part for part, _, _ in done], two))
        both = time.perf_counter() - begin
    per_worker: dict[int, float] = {}
    for _, process, cpu in done:
        per_worker[process] = per_worker.get(process, 0) + cpu
    both_cpu = max(per_worker.values()) + join_cpu
    ignored = {"timings_ms", "artifacts"}
    same = expected.model_dump(exclude=ignored) == findings.model_dump(exclude=ignored)
    same_lines = (one / "frames.jsonl").read_bytes() == (two / "frames.jsonl").read_bytes()
    print(f"{path.name}: {findings.analysed} frames, {len(segments)} parts, {findings.object_string}")
    print(f"one worker: {alone:.1f} s, {alone_cpu:.1f} s of CPU ({expected.timings_ms})")
    print(f"two workers: {both:.1f} s ({workers:.1f} s without the join), {both_cpu:.1f} s of CPU of the longer one")
    print(f"speed-up: {alone / both:.2f} elapsed, {alone_cpu / both_cpu:.2f} by CPU; join: {join_cpu:.2f} s of CPU")
    print(f"same result: {same}; same boxes and tracks in every frame: {same_lines}")
    if not (same and same_lines):
        sys.exit("the parts do not give the same as the whole")


_predict: Predict


def set_up(settings: Settings, number: Any) -> None:  # noqa: ANN401 -- multiprocessing's own type has no name
    """Give each worker a core of its own, and the model."""
    global _predict
    with number.get_lock():
        core = sorted(os.sched_getaffinity(0))[number.value % os.cpu_count()]
        number.value += 1
    os.sched_setaffinity(0, {core})
    _predict = load(settings)


def do_whole(path: Path, probed: Probe, options: VideoOptions, folder: Path) -> tuple[VideoFindings, float]:
    begin = time.process_time()
    findings = process_video(path, probed, options, _predict, folder)
    return findings, time.process_time() - begin


def do_part(
    path: Path, probed: Probe, options: VideoOptions, folder: Path, segment: Segment
) -> tuple[DonePart, int, float]:
    begin = time.process_time()
    place = folder / str(segment.number)
    place.mkdir()
    result: SegmentResult = process_segment(path, probed.facts, segment, options, _predict, place)
    return DonePart(result, place), os.getpid(), time.process_time() - begin


def do_join(
    path: Path, probed: Probe, options: VideoOptions, parts: list[DonePart], folder: Path
) -> tuple[VideoFindings, float]:
    begin = time.process_time()
    findings = join(path, probed.facts, options, parts, folder)
    return findings, time.process_time() - begin


if __name__ == "__main__":
    main()
