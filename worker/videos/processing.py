"""A video that is not split, by the same steps as one that is."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from shared.videos import VideoFindings, VideoOptions
from worker.videos.containers import VideoFile
from worker.videos.joining import DonePart, join
from worker.videos.limits import VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import Probe
from worker.videos.segments import Predict, Progress, process_segment


def process_video(
    file: VideoFile,
    probe: Probe,
    options: VideoOptions,
    predict: Predict,
    folder: Path,
    *,
    limits: VideoLimits | None = None,
    batch: int = 4,
    threads: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> VideoFindings:
    """Do a whole video in one go; arguments and errors are those of `process_segment` and `join`."""
    (segment,) = plan_segments(probe, options)
    with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
        result = process_segment(
            file,
            probe.facts,
            segment,
            options,
            predict,
            Path(part),
            limits=limits,
            batch=batch,
            threads=threads,
            on_progress=on_progress,
        )
        return join(file, probe.facts, options, [DonePart(result, Path(part))], folder)
