"""The result document: what a finished job says. Built, serialised and validated here only.

`result.json` in storage is an `ImageResult`; it is written last, so its presence is what "finished" means.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Literal[1] = 1

#: what a model finds out: objects with boxes, objects with outlines too, or what the picture shows as a whole
Task = Literal["detection", "segmentation", "classification"]
Score = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
#: left, top, right, bottom in pixels of the oriented original
Box = tuple[float, float, float, float]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rle(_Document):
    """A mask in COCO's compressed run-length encoding (column-major), as pycocotools writes it."""

    size: tuple[int, int] = Field(description="height, width")
    counts: str


class Detection(_Document):
    """One object found in an image."""

    label: str
    class_id: int = Field(ge=0)
    score: Score
    box: Box = Field(description="left, top, right, bottom in pixels of the oriented original")
    mask: Rle | None = None
    mask_percent: Percent | None = Field(None, description="share of the image's pixels")
    track_id: int | None = None


class Classification(_Document):
    """One class of a classifier, with its probability."""

    label: str
    class_id: int = Field(ge=0)
    score: Score


class Artifact(_Document):
    """A file that belongs to the result, at `/results/<id>/<name>`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    content_type: str
    bytes: int = Field(ge=0)
    width: int | None = None
    height: int | None = None


class Source(_Document):
    """What was uploaded. `width` and `height` are those of the oriented original."""

    filename: str = Field(description="as the client called it: shown, never used as a path")
    content_type: str
    bytes: int
    sha256: str
    width: int
    height: int
    format: str = Field(description="the decoder's name of the format, for instance JPEG")
    frames: int = Field(1, description="frames in the file; only the first is looked at in an image")


class ModelUsed(_Document):
    """Which model gave the answer and what ran it."""

    name: str
    family: str
    engine: str
    precision: str
    weights_sha256: str
    input_size: tuple[int, int] = Field(description="height, width of the network's input")

    @property
    def arithmetic(self) -> str:
        """What the numbers of an answer depend on besides the weights, for instance "openvino/int8"."""
        return f"{self.engine}/{self.precision}"


class ImageResult(_Document):
    """The result of one photo."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["image"] = "image"
    id: str
    created_at: datetime
    started_at: datetime
    finished_at: datetime
    source: Source
    model: ModelUsed
    options: dict[str, float | int | str | bool]
    task: Task = "detection"
    detections: list[Detection]
    mask_percent: Percent | None = Field(None, description="share of the image's pixels that all masks together cover")
    classes: list[Classification] = Field([], description="of a classifier: the most probable classes, best first")
    explained: Classification | None = Field(None, description="the class whose evidence `heatmap.jpg` shows")
    counts: dict[str, int] = Field(description="objects per label, most frequent first")
    object_string: str = Field(description='for instance "2 people, 1 dog"')
    text: str = Field(description="a plain sentence")
    notes: list[str] = Field(description="what a person should know, e.g. that only the first frame was used")
    artifacts: list[Artifact]
    timings_ms: dict[str, float] = Field(
        description=(
            "queue, fetch, decode, load (only if the model was not in memory), preprocess, inference, postprocess, "
            "draw, store, total (without queue)"
        )
    )

    def to_json(self) -> bytes:
        """The document as UTF-8 JSON, without the fields that are None."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> "ImageResult":
        """Parse and validate. Raises `pydantic.ValidationError` if it is not such a document."""
        return cls.model_validate_json(data)


def count_labels(labels: Iterable[str]) -> dict[str, int]:
    """Objects per label, most frequent first, then by name."""
    return dict(sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0])))


_IRREGULAR = {
    "person": "people",
    "knife": "knives",
    "mouse": "mice",
    "sheep": "sheep",
    "skis": "skis",
    "scissors": "scissors",
}
_SOUND_OF_YOU = ("uni", "use", "usu", "eu")
_ALREADY_PLURAL = {"skis", "scissors"}
#: scores of a classifier from which on it is sure, or thinks it likely
_SURE, _LIKELY = 0.95, 0.5
_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def plural(label: str, count: int) -> str:
    """The label in the number that goes with `count`, e.g. "people" for 2 of "person"."""
    if count == 1:
        return f"pair of {label}" if label in _ALREADY_PLURAL else label
    if label in _ALREADY_PLURAL:
        return f"pairs of {label}"
    head, _, last = label.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{head} {last}".strip()


def object_string(counts: dict[str, int]) -> str:
    """A short list: "2 people, 1 dog"; empty if nothing was found."""
    return ", ".join(f"{count} {plural(label, count)}" for label, count in counts.items())


def sentence(counts: dict[str, int]) -> str:
    """A plain sentence: "There are two people and a dog in this picture."."""
    if not counts:
        return "Nothing that this model knows was found in this picture."
    parts = [_spoken(label, count) for label, count in counts.items()]
    verb = "is" if next(iter(counts.values())) == 1 else "are"
    return f"There {verb} {_join(parts)} in this picture."


def classified(classes: Sequence[Classification]) -> str:
    """A plain sentence: "This is most likely an African elephant (91 %).", by the best class and its score."""
    if not classes:
        return sentence({})
    best = classes[0]
    how = "This is" if best.score >= _SURE else "This is most likely" if best.score >= _LIKELY else "This may be"
    return f"{how} {_spoken(best.label, 1)} ({100 * best.score:.0f} %)."


def _spoken(label: str, count: int) -> str:
    noun = plural(label, count)
    if count == 1:
        vowel = noun[:1].lower() in tuple("aeiou") and not noun.lower().startswith(_SOUND_OF_YOU)
        return f"{'an' if vowel else 'a'} {noun}"
    return f"{_NUMBERS[count] if count < len(_NUMBERS) else count} {noun}"


def _join(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
