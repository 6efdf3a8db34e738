"""What decoding gives."""

from dataclasses import dataclass

from worker.pixels import Pixels


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture as it is meant to be seen.

    Attributes:
        pixels: (height, width, 3), RGB, uint8, C-contiguous, upright.
        format: the decoder's name of the format, for instance JPEG.
        frames: frames or pages in the file, `worker.images.frames.MAX_FRAMES_COUNTED` at most; `pixels` is the first.
        notes: what a person should know, in plain sentences.
    """

    pixels: Pixels
    format: str
    frames: int
    notes: tuple[str, ...]
