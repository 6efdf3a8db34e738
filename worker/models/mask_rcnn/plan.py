"""The plan of a network: its numbers, and the layers that a weight file must have."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry

#: the weights of a layer and their shapes, in Keras' order
Shapes = dict[str, tuple[int, ...]]
#: of each layer by name, its weights by name ("kernel", "bias", "gamma", ...), in the shapes of `Plan.layers`
LayerWeights: TypeAlias = dict[str, dict[str, NDArray[np.float32]]]
#: the same, to be read only
Weights: TypeAlias = Mapping[str, Mapping[str, NDArray[np.float32]]]
#: height and width
Size = tuple[int, int]

#: pixels of the input to a cell of the pyramid's levels 2 to 6
STRIDES: Final = (4, 8, 16, 32, 64)
#: the levels that regions are pooled from
POOLED_LEVELS: Final = 4
#: cells of a pooled region, and of a predicted mask
BOX_POOL: Final = 7
MASK_POOL: Final = 14
MASK_SIZE: Final = 28

#: blocks of each stage
BLOCKS: Final = {
    "resnet18": (2, 2, 2, 2),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "darknet": (1, 2, 2, 1),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A network, as an entry of the catalogue describes it.

    Args:
        layout: whose conventions hold.
        backbone: the ResNet, or the first part of `worker/training/darknet/small.cfg` ("darknet").
        classes: with the background, which is class 0.
        width: channels of the backbone's first convolution; 64 in the papers.
        fpn_channels: of the feature pyramid.
        rpn_channels: of the region proposal network's hidden layer.
        head_channels: of the box head's two hidden layers.
        mask_channels: of the mask head's convolutions.
        anchor_scales: square root of an anchor's area in pixels, one for each level.
        anchor_ratios: width to height.
        min_side: images are scaled to have this short side,
        max_side: unless the long one would get longer than this.
        mean_pixel: red, green, blue, from 0 to 255; subtracted.
        proposals: how many regions of an image the heads look at.
    """

    layout: Literal["matterport", "detectron2"]
    backbone: Literal["resnet18", "resnet50", "resnet101", "darknet"]
    classes: int
    width: int
    fpn_channels: int
    rpn_channels: int
    head_channels: int
    mask_channels: int
    anchor_scales: tuple[float, ...]
    anchor_ratios: tuple[float, ...]
    min_side: int
    max_side: int
    mean_pixel: tuple[float, float, float]
    proposals: int

    @classmethod
    def of(cls, entry: MaskRcnnEntry, classes: int) -> "Plan":
        """The plan of an entry with so many classes, the background not counted."""
        ratios = entry.anchor_ratios
        if entry.layout == "detectron2":  # there it is height to width
            ratios = tuple(1 / ratio for ratio in ratios)
        same = {field.name for field in fields(cls)} - {"classes", "anchor_ratios"}
        return cls(classes=classes + 1, anchor_ratios=ratios, **{name: getattr(entry, name) for name in same})

    @property
    def digest(self) -> str:
        """Another for any other plan."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    @property
    def aligned(self) -> bool:
        """ROIAlign as Detectron2 does it, else TensorFlow's crop-and-resize as Matterport does."""
        return self.layout == "detectron2"

    @property
    def far_edge(self) -> int:
        """What is subtracted from the right and bottom edge of a box before it is computed with."""
        return 1 if self.layout == "matterport" else 0

    @property
    def epsilon(self) -> float:
        """Of batch normalisation."""
        return 1e-3 if self.layout == "matterport" else 1e-5

    @property
    def normalised_heads(self) -> bool:
        """Whether the heads have batch normalisation."""
        return self.layout == "matterport"

    @property
    def rpn_scale(self) -> tuple[float, float, float, float]:
        """The region proposal network's deltas are multiplied by this (dy, dx, dh, dw)."""
        return (0.1, 0.1, 0.2, 0.2) if self.layout == "matterport" else (1.0, 1.0, 1.0, 1.0)

    @property
    def max_log_size(self) -> float:
        """The largest logarithm of a change of size: Detectron2's; with Matterport only what keeps it finite."""
        return 20.0 if self.layout == "matterport" else math.log(1000 / 16)

    @property
    def anchors_per_cell(self) -> int:
        """How many anchors stand at each cell."""
        return len(self.anchor_ratios)

    @property
    def bottleneck(self) -> bool:
        """Whether a block has three convolutions (1x1, 3x3, 1x1) instead of two of 3x3."""
        return self.backbone in ("resnet50", "resnet101")

    def stages(self) -> Iterator[tuple[int, int, int, int]]:
        """Number, blocks, inner channels and channels of the output of each of the backbone's four stages."""
        for index, blocks in enumerate(BLOCKS[self.backbone]):
            if self.backbone == "darknet":
                yield index + 2, blocks, self.width << index, self.width << index + 1
                continue
            inner = self.width << index
            yield index + 2, blocks, inner, inner * 4 if self.bottleneck else inner

    def canvas(self, size: Size) -> Size:
        """The size of the input for an image of `size`: one of a few, so that no network is made for each photo.

        Matterport's is square. Detectron2's is as long as an image may get, upright or not, and a multiple of 32.
        """
        if self.layout == "matterport":
            return self.max_side, self.max_side
        short, long = -(-self.min_side // 32) * 32, -(-self.max_side // 32) * 32
        return (long, short) if size[0] > size[1] else (short, long)

    def level_sizes(self, canvas: Size) -> tuple[Size, ...]:
        """Rows and columns of each level of the pyramid."""
        return tuple((math.ceil(canvas[0] / stride), math.ceil(canvas[1] / stride)) for stride in STRIDES)

    def layers(self) -> dict[str, Shapes]:
        """The layers with weights in the network's order, by Matterport's names, and the shapes in its files."""
        found: dict[str, Shapes] = {}

        def convolution(name: str, size: int, source: int, filters: int) -> None:
            found[name] = {"kernel": (size, size, source, filters), "bias": (filters,)}

        def normalisation(name: str, channels: int) -> None:
            found[name] = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (channels,))

        def dense(name: str, source: int, units: int) -> None:
            found[name] = {"kernel": (source, units), "bias": (units,)}

        darknet = self.backbone == "darknet"
        convolution("conv1", 3 if darknet else 7, 3, self.width)
        normalisation("bn_conv1", self.width)
        source = self.width
        outputs = []
        for stage, blocks, inner, outer in self.stages():
            if darknet:
                convolution(f"res{stage}_down", 3, source, outer)
                normalisation(f"bn{stage}_down", outer)
                source = outer
            for index in range(blocks):
                name = block_name(stage, index)
                branches = [("2a", 3, source, inner), ("2b", 3, inner, inner)]
                if self.bottleneck:
                    branches = [("2a", 1, source, inner), ("2b", 3, inner, inner), ("2c", 1, inner, outer)]
                if darknet:
                    branches = [("2a", 1, source, inner), ("2b", 3, inner, outer)]
                elif index == 0:
                    branches.append(("1", 1, source, outer))
                for branch, size, before, after in branches:
                    convolution(f"res{name}_branch{branch}", size, before, after)
                    normalisation(f"bn{name}_branch{branch}", after)
                source = outer
            outputs.append(outer)
        for level, channels in zip((5, 4, 3, 2), reversed(outputs), strict=True):
            convolution(f"fpn_c{level}p{level}", 1, channels, self.fpn_channels)
        for level in (2, 3, 4, 5):
            convolution(f"fpn_p{level}", 3, self.fpn_channels, self.fpn_channels)

        convolution("rpn_conv_shared", 3, self.fpn_channels, self.rpn_channels)
        convolution("rpn_class_raw", 1, self.rpn_channels, 2 * self.anchors_per_cell)
        convolution("rpn_bbox_pred", 1, self.rpn_channels, 4 * self.anchors_per_cell)

        convolution("mrcnn_class_conv1", BOX_POOL, self.fpn_channels, self.head_channels)
        convolution("mrcnn_class_conv2", 1, self.head_channels, self.head_channels)
        for index in (1, 2) if self.normalised_heads else ():
            normalisation(f"mrcnn_class_bn{index}", self.head_channels)
        dense("mrcnn_class_logits", self.head_channels, self.classes)
        dense("mrcnn_bbox_fc", self.head_channels, 4 * self.classes)

        for index in (1, 2, 3, 4):
            convolution(f"mrcnn_mask_conv{index}", 3, self.mask_source(index), self.mask_channels)
            if self.normalised_heads:
                normalisation(f"mrcnn_mask_bn{index}", self.mask_channels)
        # of a transposed convolution: height, width, filters, input channels
        convolution("mrcnn_mask_deconv", 2, self.mask_channels, self.mask_channels)
        convolution("mrcnn_mask", 1, self.mask_channels, self.classes)
        return found

    def mask_source(self, index: int) -> int:
        """Input channels of the mask head's convolution `index`, from 1."""
        return self.fpn_channels if index == 1 else self.mask_channels


def block_name(stage: int, index: int) -> str:
    """Matterport's name of a block: "4a", "4b", ..., "4w"."""
    return f"{stage}{chr(ord('a') + index)}"
