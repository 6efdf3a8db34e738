"""The second and third network: pooled regions to classes and corrected boxes, and to masks.

Imports Keras: choose the backend before (`worker.engines.select_backend`). The layers have Matterport's names.
"""

import keras
from keras import layers

from worker.engines import KerasModel
from worker.models.mask_rcnn.plan import BOX_POOL, MASK_POOL, Plan, Weights
from worker.models.mask_rcnn.trunk import DataFormat, make_builder, set_weights


def build_box_head(plan: Plan, weights: Weights | None = None) -> KerasModel:
    """Build the head that says what a region is.

    Its first layer is a convolution over the whole region in the files. It is a `Dense` here: the same numbers, and
    OpenVINO computes it six times as fast.

    Args:
        plan: the network.
        weights: of at least these layers; without, they are drawn at random.

    Returns:
        A `keras.Model`. In: float32 (regions, 7, 7, channels). Out: the classes' logits (regions, classes), of the
        background first, and for each class the deltas dy, dx, dh, dw (regions, classes, 4).
    """
    make = make_builder(plan, weights, "channels_last")
    pooled = keras.Input((BOX_POOL, BOX_POOL, plan.fpn_channels), dtype="float32", name="pooled")
    x = layers.Flatten()(pooled)
    for index in (1, 2):
        x = layers.Dense(plan.head_channels, kernel_initializer=make.initializer, name=f"mrcnn_class_conv{index}")(x)
        if plan.normalised_heads:
            x = make.normalisation(f"mrcnn_class_bn{index}", axis=1)(x)
        x = make.relu(x)
    logits = layers.Dense(plan.classes, kernel_initializer=make.initializer, name="mrcnn_class_logits")(x)
    deltas = layers.Dense(4 * plan.classes, kernel_initializer=make.initializer, name="mrcnn_bbox_fc")(x)
    model = keras.Model(pooled, [logits, layers.Reshape((plan.classes, 4))(deltas)], name="box_head")
    if weights is not None:
        set_weights(model, weights)
    return model


def build_mask_head(plan: Plan, weights: Weights | None = None, data_format: DataFormat | None = None) -> KerasModel:
    """Build the head that outlines.

    Args:
        plan: the network.
        weights: of at least these layers; without, they are drawn at random.
        data_format: as of `build_trunk`.

    Returns:
        A `keras.Model`. In: float32 (regions, 14, 14, channels). Out: for each class the logits of a mask
        (regions, 28, 28, classes).
    """
    make = make_builder(plan, weights, data_format)
    pooled = keras.Input((MASK_POOL, MASK_POOL, plan.fpn_channels), dtype="float32", name="pooled")
    x = make.enter(pooled)
    for index in (1, 2, 3, 4):
        x = make.convolution(f"mrcnn_mask_conv{index}", plan.mask_channels, 3)(x)
        if plan.normalised_heads:
            x = make.normalisation(f"mrcnn_mask_bn{index}")(x)
        x = make.relu(x)
    x = layers.Conv2DTranspose(
        plan.mask_channels,
        2,
        2,
        data_format=make.data_format,
        kernel_initializer=make.initializer,
        name="mrcnn_mask_deconv",
    )(x)
    x = make.convolution("mrcnn_mask", plan.classes, 1)(make.relu(x))
    model = keras.Model(pooled, make.leave(x), name="mask_head")
    if weights is not None:
        set_weights(model, weights)
    return model
