"""Where a class was seen, as colours over the photo."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.pixels import Pixels

#: how much of the photo is left where it is hottest
_LEFT: Final = 0.25
#: of the 256 colours; the last ones are pale, and look dull on a photo
_HOTTEST: Final = 232
#: pixels that are mixed at once; the floats of a whole large photo would take gigabytes
_STRIP: Final = 1 << 20
#: the photo under it is dimmed, so that the colours stand out
_DIMMED: Final = 0.75


def draw_heat(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """The photo in grey with heat from purple over orange to yellow on it; where there is none it is only grey.

    The colours are matplotlib's "inferno": they grow lighter evenly, so they read the same to colour-blind people and
    on a grey print.

    Args:
        pixels: (height, width, 3), RGB; stays as it is.
        heat: (height, width) from 0 to 1.
    """
    drawn = np.empty_like(pixels)
    step = max(1, _STRIP // max(1, pixels.shape[1]))
    for start in range(0, len(pixels), step):
        strip = slice(start, start + step)
        drawn[strip] = _blended(pixels[strip], heat[strip])
    return drawn


def _blended(pixels: Pixels, heat: NDArray[np.float32]) -> Pixels:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    levels = np.rint(heat * _HOTTEST).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB).astype(np.float32)
    share = ((1 - _LEFT) * np.sqrt(np.clip(heat, 0, 1)))[..., np.newaxis].astype(np.float32)
    base = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.float32) * np.float32(_DIMMED)
    return np.rint(base * (1 - share) + colours * share).astype(np.uint8)
