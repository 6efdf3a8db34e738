"""How far off the network is (arXiv 1506.01497, eq. 1, and 1703.06870, section 3). In `keras.ops`, for any backend.

All are means over what was drawn for judging, so that no loss depends on how many there are. Those for boxes are
summed over the four deltas and divided by all that were drawn, objects or not, as in Fast R-CNN.
"""

from typing import Any, TypeAlias

from keras import ops

Tensor: TypeAlias = Any


def smooth_l1(difference: Tensor) -> Tensor:
    """Half the square up to 1, linear from there (arXiv 1504.08083, eq. 3)."""
    size = ops.abs(difference)
    return ops.where(size < 1.0, 0.5 * ops.square(size), size - 0.5)


def proposal_losses(logits: Tensor, deltas: Tensor, labels: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Of the region proposal network: for the label, and for the box.

    Args:
        logits: (images, anchors, 2), of background and object.
        deltas: (images, anchors, 4).
        labels: (images, anchors), 1, 0, or -1 for ignored.
        wanted: (images, anchors, 4).
    """
    labels = ops.cast(labels, "int32")
    judged = ops.cast(labels >= 0, "float32")
    objects = ops.cast(labels == 1, "float32")
    count = ops.maximum(ops.sum(judged), 1.0)
    entropy = ops.sparse_categorical_crossentropy(ops.maximum(labels, 0), logits, from_logits=True)
    boxes = ops.sum(smooth_l1(deltas - wanted), axis=-1)
    return ops.sum(entropy * judged) / count, ops.sum(boxes * objects) / count


def box_head_losses(
    logits: Tensor, deltas: Tensor, classes: Tensor, wanted: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Of the box head: for the class, and for the box of the true class.

    Args:
        logits: (regions, classes).
        deltas: (regions, classes, 4).
        classes: (regions,), 0 for background.
        wanted: (regions, 4).
        weights: (regions,), 0 for those that do not count.
    """
    classes = ops.cast(classes, "int32")
    count = ops.maximum(ops.sum(weights), 1.0)
    entropy = ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    true_class = ops.one_hot(classes, logits.shape[-1], dtype="float32")
    boxes = ops.sum(smooth_l1(ops.sum(deltas * true_class[:, :, None], axis=1) - wanted), axis=-1)
    objects = ops.cast(classes > 0, "float32") * weights
    return ops.sum(entropy * weights) / count, ops.sum(boxes * objects) / count


def mask_loss(logits: Tensor, classes: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Of the mask head: binary cross entropy of the true class's mask; the other classes do not compete.

    Args:
        logits: (regions, rows, columns, classes).
        classes: (regions,), from 1.
        wanted: (regions, rows, columns), 0 or 1.
        weights: (regions,), 0 for those that do not count.
    """
    true_class = ops.one_hot(ops.cast(classes, "int32"), logits.shape[-1], dtype="float32")
    chosen = ops.sum(logits * true_class[:, None, None, :], axis=-1)
    # the same as of the logistic function, without overflow
    entropy = ops.mean(ops.softplus(chosen) - chosen * wanted, axis=(1, 2))
    return ops.sum(entropy * weights) / ops.maximum(ops.sum(weights), 1.0)
