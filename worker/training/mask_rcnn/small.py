"""Which network is trained: the small one that comes with the project, or that of a model of the catalogue."""

from pathlib import Path
from typing import Final

from shared.entries import MaskRcnnEntry

#: pixels of the square input, if nothing else is wanted
SIDE: Final = 320


def small_entry(name: str, side: int = SIDE) -> MaskRcnnEntry:
    """A network on the backbone of the small detector, which two cores train in minutes.

    Args:
        name: of the model and its files.
        side: of the square input, a multiple of 64.
    """
    return MaskRcnnEntry.model_validate(
        {
            "name": name,
            "title": name,
            "weights": {"name": f"{name}.h5"},
            "classes": {"name": f"{name}.names"},
            "backbone": "darknet",
            "width": 16,
            "fpn_channels": 48,
            "rpn_channels": 48,
            "head_channels": 256,
            "mask_channels": 48,
            # the detector saw pixels as they are
            "mean_pixel": (0, 0, 0),
            "anchor_scales": (side / 16, side / 9, side / 5, side / 3, side / 1.8),
            # of a standing person the height is two to three times the width
            "anchor_ratios": (0.4, 0.75, 1.4),
            "min_side": side,
            "max_side": side,
            "proposals": 100,
        }
    )


def renamed(entry: MaskRcnnEntry, name: str, side: int | None = None) -> MaskRcnnEntry:
    """A network like that of `entry`, for files of another name.

    Args:
        entry: of the catalogue.
        name: of the model and its files.
        side: of the square input, a multiple of 64; None: as it is.
    """
    made = small_entry(name)
    files = {"weights": made.weights, "classes": made.classes}
    texts = {"title": name, "description": "", "licence": entry.licence, "source": entry.source}
    sides = {} if side is None else {"min_side": side, "max_side": side}
    # validated: another side may not do
    return MaskRcnnEntry.model_validate({**dict(entry), "name": name, **files, **texts, **sides})


def first_heads_epochs(epochs: int, weights: Path | None) -> int:
    """How many epochs teach the heads alone, if nobody says: a tenth with a backbone that has learnt something."""
    return 0 if weights is None else max(1, epochs // 10)
