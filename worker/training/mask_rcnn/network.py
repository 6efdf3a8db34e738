"""The network in training: the parts of inference, joined so that gradients flow through all. TensorFlow only.

One step is one graph: the trunk, then NumPy that draws regions from its proposals (no gradient, as in the papers:
where a proposal lies is taught by its own loss), ROIAlign, and the heads.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from worker.engines import KerasModel
from worker.models.mask_rcnn.anchors import make_anchors
from worker.models.mask_rcnn.heads import build_box_head, build_mask_head
from worker.models.mask_rcnn.plan import BOX_POOL, MASK_POOL, MASK_SIZE, LayerWeights, Plan, Weights
from worker.models.mask_rcnn.proposals import propose
from worker.models.mask_rcnn.roi_align_ops import pool_tensors
from worker.models.mask_rcnn.trunk import build_trunk, get_weights
from worker.training.mask_rcnn.batches import Batch
from worker.training.mask_rcnn.config import MaskRcnnConfig, Part
from worker.training.mask_rcnn.losses import box_head_losses, mask_loss, proposal_losses
from worker.training.mask_rcnn.targets import RegionTargets, crop_masks, region_targets
from worker.training.optimizing import AverageWeights, make_optimizer
from worker.training.precision import layers_in

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
#: a `tf.Tensor`, for which no types are used
Tensor: TypeAlias = Any

#: the sum, and its parts
LOSS_NAMES: Final = ("loss", "rpn_class", "rpn_box", "class", "box", "mask")

#: of the running averages of batch normalisation; Keras' 0.99 lags behind in a run of a few hundred steps
MOMENTUM: Final = 0.95

_REGION_TYPES: Final = (tf.float32, tf.int32, tf.int64, tf.float32, tf.float32)
_MASK_TYPES: Final = (tf.float32, tf.int32, tf.int64, tf.float32, tf.float32)


class TrainedMaskRcnn:
    """A network that learns.

    Args:
        plan: the network.
        weights: to start from.
        config: of the run.
    """

    def __init__(self, plan: Plan, weights: Weights, config: MaskRcnnConfig) -> None:
        self._plan = replace(plan, proposals=config.proposals)
        self._config = config
        self._canvas = plan.canvas((1, 1))
        self._anchors = make_anchors(plan, self._canvas)
        rows, columns = self._canvas
        self._bounds = np.asarray([0, 0, columns - plan.far_edge, rows - plan.far_edge], np.float32)
        with layers_in(config.precision):
            self._trunk = build_trunk(plan, self._canvas, weights, "channels_last")
            self._box_head = build_box_head(plan, weights)
            self._mask_head = build_mask_head(plan, weights, "channels_last")
        self._objects = max(1, int(config.regions * config.positive))
        for layer in self._layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = MOMENTUM
        self._random = np.random.default_rng(config.seed)
        #: what learns now; None before the first `begin`
        self.part: Part | None = None
        self.optimizer: Any = None
        self._variables: list[Any] = []
        self._graph: Any = None
        self.average = AverageWeights((), config.ema_decay)

    @property
    def parts(self) -> tuple[KerasModel, KerasModel, KerasModel]:
        """Trunk, box head and mask head."""
        return self._trunk, self._box_head, self._mask_head

    @property
    def variables(self) -> list[Any]:
        """All weights and running averages."""
        return [variable for part in self.parts for variable in part.weights]

    def weights(self) -> LayerWeights:
        """All weights, in the shapes of `plan.layers`."""
        return get_weights(self._plan, *self.parts)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """For a while the network has the running averages of its weights, which are better than the last ones."""
        before = [variable.numpy() for variable in self._variables]
        for variable, value in zip(self._variables, self.average.values, strict=True):
            variable.assign(value)
        try:
            yield
        finally:
            for variable, value in zip(self._variables, before, strict=True):
                variable.assign(value)

    def begin(self, part: Part, steps: int) -> None:
        """Make ready for `steps` steps in which `part` learns."""
        for layer in self._layers():
            backbone = layer.name.startswith(("conv1", "bn_conv1", "res", "bn"))
            normalisation = isinstance(layer, keras.layers.BatchNormalization)
            frozen = (backbone and part == "heads") or (normalisation and self._config.freeze_normalisation)
            # a normalisation that is not trainable uses its running averages (Keras)
            layer.trainable = not frozen
        self.part = part
        self.optimizer = make_optimizer(self._config, steps)
        self._variables = [variable for part in self.parts for variable in part.trainable_variables]
        self.optimizer.build(self._variables)
        self._graph = tf.function(self._step)
        self.average = AverageWeights(self._variables, self._config.ema_decay)

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch; returns `LOSS_NAMES` and the gradient's norm ("gradient") before it was clipped."""
        tensors = (batch.images, batch.labels, batch.deltas, batch.truths, batch.classes, batch.masks)
        # the same draws for the same step, whatever ran before
        done = int(self.optimizer.iterations)
        self._random = np.random.default_rng([self._config.seed, int(self.part == "all"), done])
        values = self._graph(*(tf.constant(each) for each in tensors))
        self.average.update(done + 1)
        return {name: float(value) for name, value in zip((*LOSS_NAMES, "gradient"), values, strict=True)}

    def _step(
        self, images: Tensor, labels: Tensor, deltas: Tensor, truths: Tensor, classes: Tensor, masks: Tensor
    ) -> list[Tensor]:
        with tf.GradientTape() as tape:
            *maps, logits, corrections = _full(self._trunk(images, training=True))
            regions, outlines = self._draw(logits, corrections, truths, classes, masks)
            losses = [*proposal_losses(logits, corrections, labels, deltas)]
            boxes, numbers, names, wanted, weights = regions
            pooled = pool_tensors(self._plan, maps, boxes, numbers, BOX_POOL, self._canvas)
            scores, shifts = _full(self._box_head(pooled, training=True))
            losses += box_head_losses(scores, shifts, names, wanted, weights)
            boxes, numbers, names, wanted, weights = outlines
            pooled = pool_tensors(self._plan, maps, boxes, numbers, MASK_POOL, self._canvas)
            (outlined,) = _full([self._mask_head(pooled, training=True)])
            losses.append(mask_loss(outlined, names, wanted, weights))
            total = tf.add_n(losses)
            # so that small gradients are no zeros in float16; the optimizer takes it back
            scaled = self.optimizer.scale_loss(total)
        gradients = tape.gradient(scaled, self._variables)
        norm = tf.linalg.global_norm(gradients) * (total / scaled)
        self.optimizer.apply(gradients, self._variables)
        return [total, *losses, norm]

    def _draw(self, *tensors: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Regions for the box head and for the mask head, each as boxes, images, classes, answers and weights."""
        found = tf.numpy_function(self._regions, tensors, (*_REGION_TYPES, *_MASK_TYPES))
        images = self._config.batch_size
        count, objects = images * self._config.regions, images * self._objects
        shapes = [(count, 4), (count,), (count,), (count, 4), (count,)]
        shapes += [(objects, 4), (objects,), (objects,), (objects, MASK_SIZE, MASK_SIZE), (objects,)]
        for tensor, shape in zip(found, shapes, strict=True):
            tensor.set_shape(shape)
        return found[:5], found[5:]

    def _regions(
        self, logits: Floats, deltas: Floats, truths: Floats, classes: Integers, masks: NDArray[np.bool_]
    ) -> list[Any]:
        found: list[RegionTargets] = []
        cropped: list[Floats] = []
        for image, (scores, corrections) in enumerate(zip(logits, deltas, strict=True)):
            there = classes[image] > 0
            proposals = propose(self._plan, self._anchors, scores, corrections, self._bounds)
            config = self._config
            drawn = region_targets(
                proposals, truths[image, there], classes[image, there], config.regions, config.positive, self._random
            )
            found.append(drawn)
            # the objects come first; where there are fewer, other regions take their place without weight
            first = slice(0, self._objects)
            own = masks[image][drawn.truths[first]]
            cropped.append(crop_masks(own, drawn.boxes[first], self._plan.far_edge, MASK_SIZE))
        boxes = np.concatenate([each.boxes for each in found])
        numbers = np.repeat(np.arange(len(found), dtype=np.int32), self._config.regions)
        names = np.concatenate([each.classes for each in found])
        wanted = np.concatenate([each.deltas for each in found])
        weights = np.concatenate([each.weights for each in found])
        outlined = np.tile(np.arange(self._config.regions) < self._objects, len(found))
        shown = (weights * (names > 0)).astype(np.float32)
        return [
            *(boxes, numbers, names, wanted, weights),
            *(boxes[outlined], numbers[outlined], names[outlined], np.concatenate(cropped), shown[outlined]),
        ]

    def _layers(self) -> list[Any]:
        return [layer for part in self.parts for layer in part.layers if layer.weights]


def _full(tensors: Sequence[Tensor]) -> list[Tensor]:
    """In float32, whatever the layers compute in: losses and positions need it."""
    return [tf.cast(tensor, tf.float32) for tensor in tensors]
