"""The fields of an upload's form that concern videos: `shared.videos.VideoOptions` as a form can send them."""

from pydantic import Field, ValidationError

from shared.errors import BadInputError
from shared.videos import MOST_SECONDS, VideoOptions
from web.forms import Form

_KNOWN = VideoOptions.model_fields


class VideoFields(Form):
    """What counts for videos only. Photos of the same request go without it."""

    every: int = Field(1, ge=1, le=1000, description=f"videos: {_KNOWN['every'].description}")
    fps: float | None = Field(None, ge=0.01, le=240, description=f"videos: {_KNOWN['fps'].description}")
    start: float = Field(0, ge=0, le=MOST_SECONDS, description=f"videos: {_KNOWN['start'].description}")
    end: float | None = Field(None, gt=0, le=MOST_SECONDS, description=f"videos: {_KNOWN['end'].description}")
    max_side: int = Field(1920, ge=64, le=4096, description=f"videos: {_KNOWN['max_side'].description}")
    draw: bool = Field(True, description=f"videos: {_KNOWN['draw'].description}")
    line: str = Field("", max_length=200, description="videos: shares x1,y1,x2,y2; who crosses it is counted")
    zone: str = Field(
        "", max_length=2000, description="videos: shares x,y of the corners, apart by blanks; who is inside is counted"
    )


def video_options(form: VideoFields, before: VideoOptions | None = None) -> VideoOptions:
    """The options of a form.

    Args:
        form: the form.
        before: what holds for the fields that were not sent; None: their defaults.

    Raises:
        BadInputError: "invalid_option": a line or zone that is none, or a contradiction.
    """
    fields = {name: getattr(form, name) for name in VideoFields.model_fields}
    if before is not None:
        given = form.model_fields_set
        kept = before.model_dump()
        if form.fps is not None:
            kept["every"] = 1  # one takes the place of the other
        elif "every" in given:
            kept["fps"] = None
        fields = kept | {name: value for name, value in fields.items() if name in given}
    try:
        return VideoOptions.model_validate(fields)
    except ValidationError as error:
        raise first_wrong(error, "video") from None


def first_wrong(error: ValidationError, whole: str) -> BadInputError:
    """What is wrong first with options, in public words; `whole`: what they are called together."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else whole
    return BadInputError("invalid_option", f"{name}: {first['msg'].removeprefix('Value error, ')}")
