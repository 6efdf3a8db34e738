"""What goes through storage and the queue comes back the same."""

import pytest

from shared.results import Artifact
from shared.videos import (
    LineCounts,
    Segment,
    SegmentResult,
    Timeline,
    Track,
    VideoFindings,
    VideoOptions,
    VideoResult,
    not_counted,
    video_sentence,
)
from tests.video_documents import SOURCE, video_result

FINDINGS = VideoFindings(
    frames=100,
    analysed=50,
    fps=12.5,
    duration=4,
    counts={"person": 2, "dog": 1},
    object_string="2 people, 1 dog",
    text="This video shows 2 people and 1 dog.",
    tracks=[Track(id=1, label="person", class_id=0, score=0.9, first=0.1, last=3.2, frames=40)],
    timeline=Timeline(seconds=1, most={"person": [1, 2, 2, 0]}),
    line=LineCounts(line=(0.5, 1, 0.5, 0), to_right={"person": 1}, to_left={}),
    notes=[],
    artifacts=[Artifact(name="annotated.mp4", content_type="video/mp4", bytes=1)],
    timings_ms={"decode": 1.5},
)


def test_the_result_comes_back() -> None:
    result = video_result(
        "0" * 32,
        FINDINGS,
        source=SOURCE.model_copy(update={"frames": 100}),
        options={"score": 0.25},
        video_options=VideoOptions(every=2, line=(0.5, 1, 0.5, 0)),
    )
    assert VideoResult.from_json(result.to_json()) == result
    assert result.kind == "video"
    assert b"zone" not in result.to_json()


def test_a_part_comes_back() -> None:
    segment = Segment(number=1, start=5, end=9, previous=4, first_index=5, frames=4)
    result = SegmentResult(segment=segment, decoded=4, analysed=4, files=("frames.jsonl",), timings_ms={"decode": 1})
    assert SegmentResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "Nothing that this model knows was found in this video."),
        ({"dog": 1}, "This video shows 1 dog."),
        ({"person": 12, "dog": 1}, "This video shows 12 people and 1 dog."),
        ({"person": 3, "knife": 2, "dog": 1}, "This video shows 3 people, 2 knives and 1 dog."),
    ],
)
def test_sentences(counts: dict[str, int], text: str) -> None:
    assert video_sentence(counts) == text
    assert video_sentence(counts, counts) == text


@pytest.mark.parametrize(
    ("counts", "seen", "note"),
    [
        ({}, "", None),
        ({"dog": 1}, "dog", None),
        ({}, "cat", "Not seen long or surely enough to be counted: cat."),
        ({"dog": 2}, "cat dog cow", "Not seen long or surely enough to be counted: cat, cow."),
        ({}, "a b c d e f g", "Not seen long or surely enough to be counted: a, b, c, d, e and 2 more."),
    ],
)
def test_what_was_seen_and_not_followed_is_named(counts: dict[str, int], seen: str, note: str | None) -> None:
    assert not_counted(counts, seen.split()) == note
    nothing_known = video_sentence(counts, seen.split()) == video_sentence({})
    assert nothing_known == (not counts and not seen), "it says that nothing was found only where that is so"
