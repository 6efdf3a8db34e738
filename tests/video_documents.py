"""Documents of videos for tests that need one and not what is in it."""

from datetime import UTC, datetime
from typing import Any, Final

from shared.results import Artifact, ModelUsed
from shared.videos import Timeline, VideoFindings, VideoOptions, VideoResult, VideoSource

#: of two seconds with one person, and a dog that was not counted
FINDINGS: Final = VideoFindings(
    frames=10,
    analysed=10,
    fps=5,
    duration=2,
    counts={"person": 1},
    object_string="1 person",
    text="This video shows 1 person.",
    tracks=[],
    timeline=Timeline(seconds=1, most={"person": [1, 1], "dog": [0, 1]}),
    notes=[],
    artifacts=[Artifact(name="annotated.mp4", content_type="video/mp4", bytes=1)],
    timings_ms={"total": 1},
)
SOURCE: Final = VideoSource(
    filename="a.mp4",
    content_type="video/mp4",
    bytes=1,
    sha256="0" * 64,
    width=40,
    height=30,
    format="mov",
    duration=2,
    fps=5,
    codec="h264",
)
MODEL: Final = ModelUsed(
    name="small", family="darknet", engine="test", precision="f32", weights_sha256="a" * 64, input_size=(320, 320)
)


def video_result(job_id: str, findings: VideoFindings = FINDINGS, **other: Any) -> VideoResult:
    """A result; `other` takes the place of its further fields."""
    now = datetime.now(UTC)
    fields = {
        "created_at": now,
        "started_at": now,
        "finished_at": now,
        "source": SOURCE,
        "model": MODEL,
        "options": {},
        "video_options": VideoOptions(),
    }
    return VideoResult(id=job_id, **dict(findings), **{**fields, **other})
