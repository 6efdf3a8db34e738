"""Proposals: the regions that the heads look at, from the region proposal network's outputs."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.models.mask_rcnn.boxes import areas, clip, decode, suppress
from worker.models.mask_rcnn.plan import Plan

Floats = NDArray[np.float32]

#: anchors that suppression looks at: of all levels together, or (Detectron2) of each
BEST_OF_ALL: Final = 6000
BEST_OF_LEVEL: Final = 1000
IOU: Final = 0.7


def propose(plan: Plan, anchors: list[Floats], logits: Floats, deltas: Floats, bounds: Floats) -> Floats:
    """The best regions of one image.

    Matterport takes the best anchors of all levels and suppresses among them; Detectron2 does both level by level, and
    throws away what lies outside the image.

    Args:
        plan: whose way.
        anchors: of each level (A_level, 4), see `make_anchors`.
        logits: (A, 2), of background and of any object, level after level.
        deltas: (A, 4), dy, dx, dh, dw before `plan.rpn_scale`.
        bounds: (4,), where a box may be; all boxes here are less `plan.far_edge`.

    Returns:
        float32 (N, 4), the best first, N <= `plan.proposals`.
    """
    scores = logits[:, 1] - logits[:, 0]
    if plan.layout == "matterport":
        best = _best(scores, BEST_OF_ALL)
        boxes = decode(np.concatenate(anchors)[best], deltas[best], plan.rpn_scale, plan.max_log_size)
        boxes = clip(boxes, bounds)
        return boxes[suppress(boxes, IOU, plan.proposals)]
    found_boxes, found_scores = [], []
    start = 0
    for level in anchors:
        part = slice(start, start + len(level))
        start += len(level)
        best = _best(scores[part], BEST_OF_LEVEL)
        boxes = clip(decode(level[best], deltas[part][best], plan.rpn_scale, plan.max_log_size), bounds)
        inside = areas(boxes) > 0
        boxes, best = boxes[inside], best[inside]
        kept = suppress(boxes, IOU, plan.proposals)
        found_boxes.append(boxes[kept])
        found_scores.append(scores[part][best[kept]])
    order = np.argsort(-np.concatenate(found_scores), kind="stable")[: plan.proposals]
    return np.concatenate(found_boxes)[order]


def _best(scores: Floats, count: int) -> NDArray[np.int64]:
    """The indices of the highest scores, the best first, the earlier one where two are equal."""
    chosen = np.arange(len(scores))
    if len(scores) > count:
        # a partition first: sorting a quarter of a million would take longer than all else here
        chosen = np.sort(np.argpartition(-scores, count - 1)[:count])
    return chosen[np.argsort(-scores[chosen], kind="stable")]
