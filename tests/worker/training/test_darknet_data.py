"""What a detector is taught: anchors, targets, pictures and the adapted cfg. No Keras here."""

from pathlib import Path

import numpy as np
import pytest

from tests.worker.training.builders import write_image
from worker.models.darknet.cfg import Yolo, parse_cfg
from worker.models.darknet.errors import DarknetError
from worker.models.darknet.plan import make_plan
from worker.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from worker.training.config import Augmentation
from worker.training.darknet.anchors import box_sides, find_anchors, shape_iou
from worker.training.darknet.augment import Augmenter, flip, place
from worker.training.darknet.batches import Batches
from worker.training.darknet.cfg_text import adapt_cfg, anchor_count
from worker.training.darknet.config import DetectionConfig
from worker.training.darknet.targets import MAX_TRUTHS, TargetEncoder
from worker.training.datasets.description import Dataset, make_sample
from worker.training.datasets.errors import DatasetError
from worker.training.errors import TrainingError
from worker.training.parts import divide
from worker.training.pictures import Floats, Picture, paste, shift_colours
from worker.training.source import PictureSource


def small_cfg() -> str:
    import worker.training.darknet

    return (Path(worker.training.darknet.__file__).parent / "small.cfg").read_text()


def floats(*rows: tuple[float, ...]) -> Floats:
    return np.asarray(rows, np.float32).reshape(-1, len(rows[0]) if rows else 4)


# -- anchors


def test_shape_iou() -> None:
    overlaps = shape_iou(floats((10, 20), (4, 4)), floats((10, 20), (20, 10), (2, 2)))
    np.testing.assert_allclose(overlaps, [[1, 100 / 300, 4 / 200], [16 / 200, 16 / 200, 4 / 16]], rtol=1e-6)


def test_anchors_find_the_clusters() -> None:
    random = np.random.default_rng(3)
    centres = floats((10, 30), (50, 50), (200, 80))
    sides = np.concatenate([centre * random.uniform(0.95, 1.05, (40, 2)) for centre in centres]).astype(np.float32)
    anchors = find_anchors(sides[random.permutation(120)], 3, seed=0)
    np.testing.assert_allclose(anchors, centres, rtol=0.03)
    assert shape_iou(sides, anchors).max(axis=1).mean() > 0.9


def test_fewer_boxes_than_anchors() -> None:
    anchors = find_anchors(floats((10, 20), (10, 20), (40, 40)), 5, seed=0)
    assert anchors.shape == (5, 2)
    assert len(np.unique(anchors, axis=0)) == 5
    assert (np.diff(anchors.prod(axis=1)) > 0).all()
    with pytest.raises(ValueError, match="at least one box"):
        find_anchors(np.empty((0, 2), np.float32), 3, seed=0)


# -- the cfg


def test_cfg_is_adapted_and_keeps_the_rest() -> None:
    text = small_cfg()
    assert anchor_count(text) == 9
    anchors = [(10.0 * n, 12.5 * n) for n in range(1, 10)]
    adapted = adapt_cfg(text, classes=3, image_size=(160, 192), anchors=anchors)
    plan = make_plan(parse_cfg(adapted))
    assert (plan.input.height, plan.input.width, plan.classes) == (160, 192, 3)
    assert [shape.channels for _, shape in plan.heads] == [24, 24, 24]
    assert [head.anchors[0] for head, _ in plan.heads] == [(70, 87.5), (40, 50), (10, 12.5)]
    assert [line for line in adapted.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]


def test_anchors_follow_the_input() -> None:
    before, after = (
        [layer for layer in parse_cfg(text).layers if isinstance(layer, Yolo)]
        for text in (small_cfg(), adapt_cfg(small_cfg(), classes=1, image_size=(640, 160)))
    )
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new.anchors, np.asarray(old.anchors) * [0.5, 2], rtol=1e-3)


def test_a_head_without_convolution_is_refused() -> None:
    text = small_cfg().replace("[yolo]", "[dropout]\n\n[yolo]", 1)
    with pytest.raises(DarknetError, match="no convolution"):
        adapt_cfg(text, classes=2)


# -- targets

CFG = """
[net]
height=64
width=96

[convolutional]
filters=14
size=1
stride=32
activation=linear

[yolo]
mask=1,2
anchors=8,8, 30,30, 60,20
classes=2
num=3

[route]
layers=0

[upsample]
stride=2

[convolutional]
filters=7
size=1
activation=linear

[yolo]
mask=0
anchors=8,8, 30,30, 60,20
classes=2
num=3
"""


def test_targets() -> None:
    encoder = TargetEncoder(make_plan(parse_cfg(CFG)))
    boxes = floats((40, 4, 48, 12), (0, 20, 64, 44), (65, 33, 94, 63))
    targets = encoder.encode([boxes, np.empty((0, 4), np.float32)], [np.asarray([1, 0, 1]), np.empty(0, np.int64)])
    coarse, fine = targets.heads
    assert (coarse.shape, fine.shape) == ((2, 2, 3, 2, 7), (2, 4, 6, 1, 7))
    # 8 x 8 at (44, 8): stride 16, row 0, column 2; 64 x 24 at (32, 32): stride 32, row 1, column 1, anchor 60 x 20
    assert fine[0, 0, 2, 0].tolist() == [44, 8, 8, 8, 1, 0, 1]
    assert coarse[0, 1, 1, 1].tolist() == [32, 32, 64, 24, 1, 1, 0]
    assert coarse[0, 1, 2, 0].tolist() == [79.5, 48, 29, 30, 1, 0, 1]
    assert (coarse[..., 4].sum(), fine[..., 4].sum()) == (2, 1)
    assert not coarse[1].any()
    assert targets.truths.shape == (2, MAX_TRUTHS, 4)
    assert targets.truths[0, :3].tolist() == [[32, 32, 64, 24], [79.5, 48, 29, 30], [44, 8, 8, 8]]
    assert not targets.truths[0, 3:].any()


def test_targets_of_several_anchors_and_of_a_full_cell() -> None:
    plan = make_plan(parse_cfg(CFG))
    box, other = floats((40, 4, 62, 26)), floats((39, 3, 63, 27))
    both = TargetEncoder(plan, 0.3).encode([box], [np.asarray([0])])
    assert (both.heads[0][..., 4].sum(), both.heads[1][..., 4].sum()) == (2, 0)
    crowded = TargetEncoder(plan).encode([np.concatenate([box, other])], [np.asarray([0, 1])])
    # of two in one cell and anchor the smaller one stays
    assert crowded.heads[0][0, 0, 1, 0].tolist() == [51, 15, 22, 22, 1, 1, 0]


def test_more_boxes_than_truths_and_centres_on_the_edge() -> None:
    sides = np.arange(2, MAX_TRUTHS + 22, dtype=np.float32)
    boxes = np.stack([96 - sides, 64 - sides, 96 + sides, 64 + sides], axis=1)
    targets = TargetEncoder(make_plan(parse_cfg(CFG))).encode([boxes], [np.zeros(len(boxes), np.int64)])
    assert targets.truths[0, 0, 2] == 2 * sides[-1]
    assert targets.heads[0][0, 1, 2, :, 4].sum() > 0


# -- pictures


def picture(*boxes: tuple[float, ...], size: tuple[int, int] = (80, 120), masks: bool = False) -> Picture:
    """Black, with a white rectangle for each box."""
    pixels = np.zeros((*size, 3), np.uint8)
    shapes = np.zeros((len(boxes), *size), np.bool_)
    for index, (left, top, right, bottom) in enumerate(boxes):
        shapes[index, int(top) : int(bottom), int(left) : int(right)] = True
        pixels[shapes[index]] = 255
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    return Picture(pixels, corners, np.arange(len(boxes)), shapes if masks else None)


def outline(pixels: np.ndarray, threshold: int = 200) -> list[int]:
    rows, columns = np.nonzero(pixels.min(axis=2) > threshold)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_flip() -> None:
    flipped = flip(picture((10, 20, 50, 60)))
    assert flipped.boxes.tolist() == [[70, 20, 110, 60]]
    assert outline(flipped.pixels) == [70, 20, 110, 60]


@pytest.mark.parametrize("scale", [(0.3, 0.3), (0.75, 0.75), (1.0, 1.0), (1.7, 1.2)])
def test_placed_boxes_lie_on_their_pixels(scale: tuple[float, float]) -> None:
    placed = place(picture((30, 20, 80, 60)), (160, 200), scale=scale, centre=(90.0, 85.0))
    assert placed.pixels.shape == (160, 200, 3)
    assert np.abs(np.asarray(outline(placed.pixels, 127)) - placed.boxes[0]).max() <= 1.01
    width, height = placed.boxes[0, 2:] - placed.boxes[0, :2]
    assert (width, height) == (pytest.approx(50 * scale[0], rel=1e-4), pytest.approx(40 * scale[1], rel=1e-4))


def test_what_is_cut_off_is_not_taught() -> None:
    # of the first nothing is left, of the second a fifth, of the third a half
    placed = place(
        picture((0, 0, 20, 20), (30, 0, 50, 80), (40, 10, 80, 70)), (80, 60), scale=(1.0, 1.0), centre=(14.0, 40.0)
    )
    assert placed.class_ids.tolist() == [2]
    assert placed.boxes.tolist() == [[0, 10, 34, 70]]


def test_paste() -> None:
    source = picture((40, 10, 80, 70), masks=True)
    target = picture((0, 0, 118, 78))
    target.pixels[:] = 0
    for seed in range(5):
        pasted = paste(target, source, 0, np.random.default_rng(seed))
        assert pasted.class_ids.tolist()[-1] == 0
        assert np.abs(np.asarray(outline(pasted.pixels)) - pasted.boxes[-1]).max() <= 2
    assert not target.pixels.any()
    # of what lies behind the new object only the rest is seen
    behind = picture((0, 0, 118, 78), masks=True)
    whole = int(behind.masks.sum()) if behind.masks is not None else 0
    pasted = paste(behind, source, 0, np.random.default_rng(0))
    assert pasted.masks is not None
    old, new = pasted.masks
    assert not (old & new).any()
    assert int(old.sum()) + int(new.sum()) == whole


def test_colours() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    nothing = Augmentation(hue=0, saturation=0, brightness=0)
    random = np.random.default_rng(0)
    assert (shift_colours(grey, nothing, random) == grey).all()
    bright = shift_colours(grey, nothing.model_copy(update={"brightness": 0.5}), random)
    assert bright.max() == bright.min() != 100


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_augmented_boxes_lie_on_their_pixels(mosaic: float) -> None:
    settings = Augmentation(mosaic=mosaic, paste=0, hue=0, saturation=0, brightness=0)
    augmenter = Augmenter(lambda _: picture((30, 20, 80, 60)), 1, (128, 160), settings)
    seen = 0
    for seed in range(20):
        made = augmenter.make(0, np.random.default_rng(seed))
        assert made.pixels.shape == (128, 160, 3)
        white = made.pixels.min(axis=2) > 200
        for left, top, right, bottom in np.rint(made.boxes).astype(int):
            assert white[top + 2 : bottom - 2, left + 2 : right - 2].all()
            white[max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = False
            seen += 1
        if not mosaic:
            assert not white.any()
    assert seen >= 20


def test_batches_are_the_same_again_and_cover_an_epoch() -> None:
    asked: list[int] = []

    def source(index: int) -> Picture:
        asked.append(index)
        return picture((10 + index, 20, 50, 60))

    plan = make_plan(parse_cfg(CFG))
    settings = Augmentation(mosaic=0, paste=0)
    batches = Batches(Augmenter(source, 5, (64, 96), settings), TargetEncoder(plan), 5, 2, seed=7)
    first = list(batches.epoch(3))
    assert len(first) == len(batches) == 3
    assert set(asked) == set(range(5))
    assert first[0].images.shape == (2, 64, 96, 3)
    assert (first[0].images.min(), first[0].images.max()) == (0, 1)
    again = list(batches.epoch(3))
    assert all((a.images == b.images).all() for a, b in zip(first, again, strict=True))
    assert not all((a.images == b.images).all() for a, b in zip(first, batches.epoch(4), strict=True))


def test_source_shrinks_and_leaves_out(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", size=(400, 800))
    boxes = [(100.0, 100.0, 500.0, 300.0), (0.0, 0.0, 2.0, 300.0), (-50.0, 0.0, 400.0, 400.0), (0.0, 0.0, 99.0, 99.0)]
    sample = make_sample(path, None, boxes, [0, 0, 1, 1], [False, False, False, True])
    made = PictureSource([sample], (64, 96), with_masks=False)(0)
    assert made.pixels.shape[0] == pytest.approx(400 * 1.6 * 0.16, abs=1)
    factor = made.pixels.shape[1] / 800
    np.testing.assert_allclose(made.boxes, np.asarray([boxes[0], (0, 0, 400, 400)]) * factor, rtol=0.01)
    assert made.class_ids.tolist() == [0, 1]


def test_further_data_sets(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "1.jpg", tmp_path / "b" / "2.jpg"]
    box = (0.0, 0.0, 10.0, 20.0)
    own = Dataset(tmp_path / "a", "detection", "", ("dog", "cat"), (make_sample(paths[0], (50, 50), [box], [1]),))
    other_sample = make_sample(
        paths[1], (50, 100), [box, box, box], [0, 1, 2], masks=lambda: np.eye(3, dtype=np.bool_)[:, None]
    )
    other = Dataset(tmp_path / "b", "masks", "", ("cat", "bird", "dog"), (other_sample,))
    data = divide(own, [other], DetectionConfig(val=0, test=0))
    assert data.files == {"train": ("1.jpg",), "val": (), "test": (), "also": ("2.jpg",)}
    assert [sample.class_ids.tolist() for sample in data.train] == [[1], [1, 0]]
    reader = data.also[0].masks
    assert reader is not None
    assert reader().tolist() == [[[True, False, False]], [[False, False, True]]]
    sides = box_sides(data.train, [(50, 50), (50, 100)], (100, 100))
    assert sides.tolist() == [[20, 40], [10, 20], [10, 20]]
    with pytest.raises(DatasetError, match="no training image"):
        divide(own, [], DetectionConfig(val=0, test=0.9))


def test_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    arrays = {"network": [np.arange(3.0), np.eye(2)], "optimizer": [np.asarray(7)] * 12}
    save_checkpoint(path, Checkpoint({"epoch": 3}, arrays))
    loaded = load_checkpoint(path)
    assert loaded.document == {"epoch": 3}
    assert {name: [value.tolist() for value in values] for name, values in loaded.arrays.items()} == {
        name: [value.tolist() for value in values] for name, values in arrays.items()
    }
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="is broken: start again"):
        load_checkpoint(path)
