"""What a picture is to everything between decoder and encoder."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: uint8 (height, width, 3), RGB
Pixels: TypeAlias = NDArray[np.uint8]
