"""The document of a video's result, from what is known of the file and what was found in it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from shared.jobs import InputFile, JobOptions
from shared.videos import VideoFacts, VideoFindings, VideoOptions, VideoResult, VideoSource
from worker.models.base import DetectionModel


class Looked(NamedTuple):
    """What has looked at a video, and how."""

    model: DetectionModel
    options: JobOptions
    video: VideoOptions


def video_result(
    job_id: str,
    file: InputFile,
    looked: Looked,
    facts: VideoFacts,
    findings: VideoFindings,
    began: tuple[datetime, datetime],
    times_ms: Mapping[str, float],
) -> VideoResult:
    """The document, finished now.

    Args:
        job_id: of the job.
        file: what was uploaded.
        looked: the model and the options.
        facts: of the file.
        findings: of all frames.
        began: when the job was made, and when it was begun.
        times_ms: those beside or instead of what the findings have, by name.
    """
    created, started = began
    now = datetime.now(UTC)
    source = VideoSource(
        filename=file.filename,
        content_type=file.content_type,
        bytes=file.bytes,
        sha256=file.sha256,
        width=facts.width,
        height=facts.height,
        format=facts.format,
        frames=findings.frames,
        duration=round(facts.duration, 3),
        fps=round(facts.fps, 3),
        codec=facts.codec,
        audio=facts.audio_codec,
    )
    timings = {
        "queue": round((started - created).total_seconds() * 1000, 3),
        **findings.timings_ms,
        **times_ms,
        "total": round((now - started).total_seconds() * 1000, 3),
    }
    task = looked.model.entry.task
    return VideoResult(
        id=job_id,
        created_at=created,
        started_at=started,
        finished_at=now,
        source=source,
        model=looked.model.info(),
        options=looked.options.of_task(task),
        video_options=looked.video,
        task=task,
        **(findings.model_dump() | {"timings_ms": timings}),
    )
