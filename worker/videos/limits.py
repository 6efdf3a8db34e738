"""What a video may be, and what each part of the work may use."""

from dataclasses import dataclass
from typing import Final

from shared.errors import BadInputError

#: pixels of decoded frames that wait between two threads
_WAITING_BYTES: Final = 64 * 1024 * 1024
_MOST_WAITING: Final = 8
#: pixels of one frame; what is larger decodes slower than anybody wants to wait
MOST_PIXELS: Final = 40_000_000


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What is refused: by the header first, then by what the file really holds.

    Args:
        max_pixels: of one frame.
        max_seconds: of the whole file.
        max_frames: of the whole file.
        max_aspect: long side divided by short side.
        max_gigapixels: of all frames together, in thousands of millions: what there is to decode.
    """

    max_pixels: int = MOST_PIXELS
    max_seconds: float = 2 * 3600
    max_frames: int = 500_000
    max_aspect: int = 100
    max_gigapixels: float = 1000

    @property
    def decoder_options(self) -> dict[str, str]:
        """The second net, for frames larger than the header says: FFmpeg refuses before it takes memory for them.

        It counts the whole blocks that codecs work in, therefore it is not tight.
        """
        return {"max_pixels": str(2 * self.max_pixels + 1_000_000)}

    def check_size(self, width: int, height: int) -> None:
        """Refuse frames that are too large or too long. Raises `BadInputError`."""
        if width < 1 or height < 1:
            raise BadInputError("bad_video", "The frames of the video have no pixels.")
        if width * height > self.max_pixels:
            raise BadInputError(
                "too_many_pixels",
                f"The video has frames of {width} x {height} pixels; {self.max_pixels / 1e6:g} million are the limit.",
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise BadInputError(
                "bad_aspect",
                f"The video has frames of {width} x {height} pixels; the long side may be {self.max_aspect} times "
                "the short side.",
            )

    def check_length(self, frames: int, seconds: float) -> None:
        """Refuse what is too long. Raises `BadInputError`."""
        if seconds > self.max_seconds:
            raise BadInputError(
                "too_long", f"The video is longer than {self.max_seconds:g} seconds, which are the limit."
            )
        if frames > self.max_frames:
            raise BadInputError("too_long", f"The video has more than {self.max_frames} frames, which are the limit.")

    def check_work(self, pixels: int) -> None:
        """Refuse what is too much to decode: `pixels` of all frames together. Raises `BadInputError`."""
        if pixels / 1e9 > self.max_gigapixels:
            raise BadInputError(
                "too_long",
                f"All frames of the video have more than {self.max_gigapixels:g} gigapixels together, which are the "
                "limit: a shorter or smaller one is taken.",
            )


def frames_waiting(width: int, height: int) -> int:
    """How many decoded frames may wait between two threads: memory is bounded, whatever the size of a frame."""
    return max(1, min(_MOST_WAITING, _WAITING_BYTES // (3 * width * height)))
