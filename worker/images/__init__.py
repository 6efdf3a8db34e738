"""From the bytes of a picture to an upright array of RGB pixels, or to an honest refusal.

Everything here comes from strangers. What is too large is refused by its header, before memory for its pixels
is taken; whatever else a decoder raises becomes `bad_image`. Only running out of memory is passed on: that is
no verdict on the picture.
"""

from worker.images.decoded import DecodedImage
from worker.images.decoding import FORMATS, decode_image

__all__ = ["FORMATS", "DecodedImage", "decode_image"]
