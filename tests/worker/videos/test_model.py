"""The real model on a real video, whole and in parts."""

from pathlib import Path

import pytest

from shared.catalog import CatalogReader
from shared.settings import Settings
from shared.videos import FrameDetections, VideoOptions
from tests.conftest import MODEL
from worker.models.base import DetectionModel
from worker.models.detections import Detections
from worker.models.registry import load_model
from worker.pixels import Pixels
from worker.videos.joining import DonePart, join
from worker.videos.limits import VideoLimits
from worker.videos.planning import plan_segments
from worker.videos.probing import probe
from worker.videos.processing import process_video
from worker.videos.segments import process_segment


@pytest.fixture
def detector(data_dir: Path, settings: Settings, engine_cache: Path) -> DetectionModel:
    settings = settings.model_copy(update={"weights_dir": data_dir / "weights", "engine_cache_dir": engine_cache})
    model = load_model(CatalogReader(settings.catalog, None).read()[MODEL], settings)
    assert isinstance(model, DetectionModel)
    return model


def test_parts_give_the_same_as_the_whole(data_dir: Path, tmp_path: Path, detector: DetectionModel) -> None:
    path = data_dir / "videos/one-by-one-person-detection.mp4"
    options = VideoOptions(start=12, end=30, line=(0.4, 1, 0.4, 0))
    probed = probe(path, VideoLimits())

    def predict(pictures: list[Pixels]) -> list[Detections]:
        return [detector.detect(picture) for picture in pictures]

    whole = tmp_path / "whole"
    whole.mkdir()
    expected = process_video(path, probed, options, predict, whole)
    parts = []
    for segment in plan_segments(probed, options, target_seconds=6):
        folder = tmp_path / str(segment.number)
        folder.mkdir()
        parts.append(DonePart(process_segment(path, probed.facts, segment, options, predict, folder), folder))
    assert len(parts) == 3
    split = tmp_path / "split"
    split.mkdir()
    findings = join(path, probed.facts, options, parts, split)
    ignored = {"timings_ms", "artifacts"}
    assert findings.model_dump(exclude=ignored) == expected.model_dump(exclude=ignored)
    assert (split / "frames.jsonl").read_bytes() == (whole / "frames.jsonl").read_bytes()
    # between second 12 and 30 one person goes and another one comes; the third of the video comes later
    assert findings.analysed == 180
    assert findings.counts["person"] == 2
    rows = [FrameDetections.model_validate_json(line) for line in (split / "frames.jsonl").read_bytes().splitlines()]
    assert [row.index for row in rows] == list(range(120, 300))
    people = {found.track_id for row in rows for found in row.detections if found.label == "person" and found.track_id}
    assert len(people) == 2
