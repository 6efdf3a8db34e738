from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from shared.results import (
    Classification,
    Detection,
    ImageResult,
    ModelUsed,
    Rle,
    Source,
    classified,
    count_labels,
    object_string,
    plural,
    sentence,
)


def result(*detections: Detection) -> ImageResult:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    counts = count_labels(item.label for item in detections)
    return ImageResult(
        id="0" * 32,
        created_at=now,
        started_at=now,
        finished_at=now,
        source=Source(
            filename="x.jpg", content_type="image/jpeg", bytes=1, sha256="0", width=4, height=3, format="JPEG"
        ),
        model=ModelUsed(name="m", family="darknet", engine="e", precision="f32", weights_sha256="0", input_size=(3, 4)),
        options={"score": 0.25},
        detections=list(detections),
        counts=counts,
        object_string=object_string(counts),
        text=sentence(counts),
        notes=[],
        artifacts=[],
        timings_ms={"total": 1.5},
    )


@pytest.mark.parametrize(
    "detections",
    [
        [],
        [Detection(label="dog", class_id=16, score=0.5, box=(0, 0, 1, 1))],
        [
            Detection(
                label="dog", class_id=0, score=1, box=(0, 0, 4, 3), mask=Rle(size=(3, 4), counts="0<"), mask_percent=9.5
            )
        ],
    ],
)
def test_there_and_back(detections: list[Detection]) -> None:
    document = result(*detections)
    assert ImageResult.from_json(document.to_json()) == document


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"[]",
        b"{}",
        result().to_json().replace(b'"schema_version":1', b'"schema_version":2'),
        result().to_json().replace(b'"notes"', b'"remarks"'),
    ],
)
def test_what_is_no_result_is_refused(broken: bytes) -> None:
    with pytest.raises(ValidationError):
        ImageResult.from_json(broken)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_are_between_0_and_1(score: float) -> None:
    with pytest.raises(ValidationError):
        Detection(label="dog", class_id=0, score=score, box=(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("labels", "objects", "text"),
    [
        ([], "", "Nothing that this model knows was found in this picture."),
        (["dog"], "1 dog", "There is a dog in this picture."),
        (["umbrella"], "1 umbrella", "There is an umbrella in this picture."),
        (["unicycle"], "1 unicycle", "There is a unicycle in this picture."),
        (["elephant"], "1 elephant", "There is an elephant in this picture."),
        (["dog", "dog", "car"], "2 dogs, 1 car", "There are two dogs and a car in this picture."),
        (
            ["person"] * 13 + ["bus", "bus", "apple"],
            "13 people, 2 buses, 1 apple",
            "There are 13 people, two buses and an apple in this picture.",
        ),
        (["scissors"], "1 pair of scissors", "There is a pair of scissors in this picture."),
    ],
)
def test_words(labels: list[str], objects: str, text: str) -> None:
    counts = count_labels(labels)
    assert object_string(counts) == objects
    assert sentence(counts) == text


@pytest.mark.parametrize(
    ("label", "many"),
    [
        ("wine glass", "wine glasses"),
        ("potted plant", "potted plants"),
        ("knife", "knives"),
        ("couch", "couches"),
        ("teddy bear", "teddy bears"),
        ("sheep", "sheep"),
        ("skis", "pairs of skis"),
        ("toothbrush", "toothbrushes"),
        ("berry", "berries"),
        ("toy", "toys"),
        ("mouse", "mice"),
    ],
)
def test_plurals(label: str, many: str) -> None:
    assert plural(label, 1) in (label, f"pair of {label}")
    assert plural(label, 2) == many


def test_counts_are_sorted_by_number_then_name() -> None:
    assert list(count_labels(["b", "a", "c", "c"])) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("scores", "label", "text"),
    [
        ((0.97, 0.02), "African elephant", "This is an African elephant (97 %)."),
        ((0.95,), "dog", "This is a dog (95 %)."),
        ((0.6, 0.3), "dog", "This is most likely a dog (60 %)."),
        ((0.2, 0.1), "unicycle", "This may be a unicycle (20 %)."),
        ((0.6,), "100% cotton", "This is most likely a 100% cotton (60 %)."),
        ((), "", sentence({})),
    ],
)
def test_what_a_classifier_says(scores: tuple[float, ...], label: str, text: str) -> None:
    classes = [Classification(label=label, class_id=index, score=score) for index, score in enumerate(scores)]
    assert classified(classes) == text
