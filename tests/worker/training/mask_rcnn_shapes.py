"""Pictures of discs and triangles for a Mask R-CNN to find, made from a seed."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry
from worker.training.datasets.description import Dataset, make_sample
from worker.training.mask_rcnn.pictures import tight_box
from worker.training.mask_rcnn.small import small_entry
from worker.training.pictures import Picture

LABELS = ("disc", "triangle")
SIDE = 128


def entry(name: str = "shapes") -> MaskRcnnEntry:
    """A network small enough for a test."""
    return MaskRcnnEntry.model_validate(
        {
            **small_entry(name, SIDE).model_dump(exclude={"mean_pixel"}),
            "backbone": "resnet18",
            "fpn_channels": 32,
            "rpn_channels": 32,
            "head_channels": 128,
            "mask_channels": 32,
            "anchor_scales": (20, 32, 48, 64, 96),
            "anchor_ratios": (0.6, 1.0, 1.7),
        }
    )


def picture(seed: int) -> Picture:
    """One to three objects of random colours, which do not touch, on textured ground."""
    random = np.random.default_rng([17, seed])
    pixels = _ground(random)
    taken = np.zeros((SIDE, SIDE), np.bool_)
    masks: list[NDArray[np.bool_]] = []
    classes: list[int] = []
    for _ in range(int(random.integers(1, 4))):
        for _ in range(20):
            class_id = int(random.integers(len(LABELS)))
            mask = _shape(class_id, random)
            if not (mask & taken).any():
                break
        else:
            continue
        ground = pixels[mask].mean(axis=0)
        colour = random.integers(0, 256, 3)
        while np.abs(colour - ground).max() < 90:
            colour = random.integers(0, 256, 3)
        noise = random.normal(0, 6, (int(mask.sum()), 3))
        pixels[mask] = (colour + noise).clip(0, 255).astype(np.uint8)
        taken |= cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        masks.append(mask)
        classes.append(class_id)
    boxes = np.asarray([tight_box(mask) for mask in masks], np.float32).reshape(-1, 4)
    return Picture(pixels, boxes, np.asarray(classes, np.int64), np.asarray(masks))


def dataset(folder: Path, count: int) -> Dataset:
    """The first so many pictures as a data set; their files are written into `folder`."""
    folder.mkdir(parents=True)
    samples = []
    for seed in range(count):
        made = picture(seed)
        path = folder / f"{seed:03}.png"
        cv2.imwrite(str(path), made.pixels[..., ::-1])

        def masks(seed: int = seed) -> NDArray[np.bool_]:
            found = picture(seed).masks
            assert found is not None
            return found

        boxes = [tuple(box) for box in made.boxes.tolist()]
        samples.append(make_sample(path, (SIDE, SIDE), boxes, made.class_ids.tolist(), masks=masks))
    return Dataset(folder, "masks", "shapes", LABELS, tuple(samples))


def _ground(random: np.random.Generator) -> NDArray[np.uint8]:
    coarse = random.normal(0, 18, (8, 8, 3)).astype(np.float32)
    texture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) + random.normal(0, 6, (SIDE, SIDE, 3))
    return np.asarray((random.integers(50, 206, 3) + texture).clip(0, 255), np.uint8)


def _shape(class_id: int, random: np.random.Generator) -> NDArray[np.bool_]:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    if class_id == 0:
        radius = int(random.integers(14, 27))
        x, y = random.integers(radius + 2, SIDE - radius - 2, 2).tolist()
        cv2.circle(canvas, (x, y), radius, 1, -1)
    else:
        width, height = random.integers(32, 58, 2).tolist()
        x, y = int(random.integers(2, SIDE - width - 2)), int(random.integers(2, SIDE - height - 2))
        top = x + int(random.integers(width // 4, 3 * width // 4))
        points = np.asarray([[top, y], [x, y + height], [x + width, y + height]], np.int32)
        cv2.fillPoly(canvas, [points], (1,))
    return canvas > 0
