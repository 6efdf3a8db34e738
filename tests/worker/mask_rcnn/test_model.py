"""Whole networks with seeded weights: on two backends, and against the slow reference."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.entries import MaskRcnnEntry
from shared.errors import PublicError
from shared.settings import ROOT, Settings
from tests.worker.environments import on_tensorflow, with_the_project
from tests.worker.mask_rcnn.files import (
    detectron2_arrays,
    entry_of,
    plan_of,
    random_weights,
    scene,
    write_keras2,
    write_names,
)
from tests.worker.mask_rcnn.reference import Steps, detect
from tests.worker.mask_rcnn.test_roi_align import CANVAS, maps_of, regions_of
from worker.models.mask_rcnn.boxes import suppress
from worker.models.mask_rcnn.model import MaskRcnn
from worker.models.mask_rcnn.plan import Plan
from worker.models.mask_rcnn.roi_align import levels_of, pool
from worker.models.registry import load_model

Floats = NDArray[np.float32]
TOLERANCE = 1e-3

ENTRIES = {
    "small": entry_of(),
    "two": entry_of(
        "two.pkl",
        name="two",
        layout="detectron2",
        min_side=90,
        max_side=128,
        anchor_ratios=(0.5, 1, 2),
        rpn_channels=16,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a small model of each layout."""
    folder = tmp_path_factory.mktemp("mask-rcnn")
    write_names(folder)
    write_keras2(folder / "small.h5", random_weights(Plan.of(ENTRIES["small"], 5)))
    arrays = {
        "model": detectron2_arrays(Plan.of(ENTRIES["two"], 5)),
        "__author__": "nobody",
        "matching_heuristics": True,
    }
    (folder / "two.pkl").write_bytes(pickle.dumps(arrays, 2))
    for name, entry in ENTRIES.items():
        (folder / f"{name}.json").write_text(entry.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def models(folder: Path, engine_cache: Path) -> dict[str, MaskRcnn]:
    """On OpenVINO."""
    settings = Settings(
        weights_dir=folder,
        engine="openvino",
        precision="f32",
        threads=1,
        engine_cache_dir=engine_cache,
        data_dir=folder,
    )
    return {name: MaskRcnn.load(entry, settings) for name, entry in ENTRIES.items()}


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    return scene(120, 170)


INPUTS = {
    "boxes": np.concatenate([(low := np.random.default_rng(5).uniform(0, 60, (300, 2))), low + 25], 1).astype(
        np.float32
    ),
    "scores": np.linspace(1, 0, 300, dtype=np.float32),
    "regions": regions_of(40),
    "images": np.repeat([0, 1], 20),
    "shares": np.random.default_rng(6).uniform(-0.1, 1.1, (40, 4)).astype(np.float32),
    "weights": np.random.default_rng(7).random((40, 7, 7, 5), np.float32),
}


@pytest.fixture(scope="module")
def inputs(folder: Path, photo: NDArray[np.uint8]) -> Path:
    """The folder, with what other processes are given."""
    maps = {f"map_{level}": each for level, each in enumerate(maps_of(2))}
    np.savez(folder / "inputs.npz", photo=photo, **INPUTS, **maps)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def jax(inputs: Path) -> dict[str, Floats]:
    """On JAX, as if on a GPU."""
    subprocess.run(
        [sys.executable, "-m", "tests.worker.mask_rcnn.on_jax", str(inputs)],
        check=True,
        env=with_the_project(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu"),
        timeout=600,
    )
    return dict(np.load(inputs / "on_jax.npz"))


@pytest.fixture(scope="module")
def tensorflow(inputs: Path) -> dict[str, Floats]:
    """The same in a process of its own, which does not share one with other backends."""
    if not list(Path(sys.prefix).glob("lib/python*/site-packages/tensorflow/__init__.py")):
        pytest.skip("TensorFlow is not installed")
    subprocess.run(
        [sys.executable, "-m", "tests.worker.mask_rcnn.on_tensorflow", str(inputs)],
        check=True,
        env=on_tensorflow(),
        timeout=600,
    )
    return dict(np.load(inputs / "outputs.npz"))


def test_suppression_is_that_of_tensorflow(tensorflow: dict[str, Floats]) -> None:
    assert suppress(INPUTS["boxes"], 0.5, 50).tolist() == sorted(tensorflow["kept"].tolist())


def test_crop_and_resize_is_that_of_tensorflow(tensorflow: dict[str, Floats]) -> None:
    """Boxes of level 2, in shares of the image: ours are pixels."""
    unit = np.asarray([CANVAS[1] - 1, CANVAS[0] - 1] * 2, np.float32)
    boxes = INPUTS["shares"][:, [1, 0, 3, 2]] * unit
    plan = plan_of()
    maps = maps_of(2)
    level_2 = levels_of(plan, boxes, CANVAS) == 0
    assert level_2.sum() > 10
    found = pool(plan, maps, boxes[level_2], INPUTS["images"][level_2], 7, CANVAS)
    np.testing.assert_allclose(found, tensorflow["crops"][level_2], atol=1e-4)


@pytest.mark.parametrize("layout", ["matterport", "detectron2"])
def test_pooling_for_training(tensorflow: dict[str, Floats], layout: str) -> None:
    """The same as for inference, where that takes one sample; and its gradient is the transposed matrix."""
    plan = plan_of(layout=layout)
    maps, regions, images = maps_of(2), regions_of(40), INPUTS["images"]
    found = tensorflow[f"pooled_{layout}"]
    levels = levels_of(plan, regions, CANVAS)
    cells = np.max((regions[:, 2:] - regions[:, :2]), axis=1) / (4 << levels)
    same = np.ones(40, bool) if layout == "matterport" else cells <= 7
    assert same.sum() > 5
    np.testing.assert_allclose(found[same], pool(plan, maps, regions, images, 7, CANVAS)[same], atol=1e-4)
    # moving the maps a little changes the pooled values as the gradient says: pooling is linear in them
    random = np.random.default_rng(8)
    step = [random.normal(0, 1, each.shape).astype(np.float32) for each in maps]
    moved = [each * 0 + way for each, way in zip(maps, step, strict=True)]
    expected = float((pool(plan, moved, regions, images, 7, CANVAS) * INPUTS["weights"]).sum())
    if layout == "matterport":
        slope = sum(float((tensorflow[f"gradient_{layout}_{level}"] * way).sum()) for level, way in enumerate(step))
        assert slope == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ENTRIES)
def test_maps_that_stay_on_a_gpu(
    models: dict[str, MaskRcnn], jax: dict[str, Floats], photo: NDArray[np.uint8], name: str
) -> None:
    model = models[name]
    for index, ours in enumerate(model.infer(model.preprocess(photo))):
        theirs = jax[f"{name}_{index}"]
        assert ours.shape == theirs.shape
        assert float(np.abs(ours - theirs).max()) < TOLERANCE * max(1.0, float(np.abs(theirs).max()))
    found = model.detect(photo, score=0.2, iou=0.4, max_detections=20)
    assert len(found) >= 5
    assert found.class_ids.tolist() == jax[f"{name}_class_ids"].tolist()
    np.testing.assert_allclose(found.scores, jax[f"{name}_scores"], atol=TOLERANCE)
    np.testing.assert_allclose(found.boxes, jax[f"{name}_boxes"], atol=0.05)
    areas = np.asarray([mask.area for mask in found.masks or ()])
    np.testing.assert_allclose(areas, jax[f"{name}_areas"], atol=3, rtol=0.01)
    pooled = pool(plan_of(layout=ENTRIES[name].layout), maps_of(2), regions_of(40), INPUTS["images"], 7, CANVAS)
    assert jax[f"{name}_pooled_40"].shape[0] == 64
    np.testing.assert_allclose(jax[f"{name}_pooled_40"][:40], pooled, atol=1e-5)
    assert not jax[f"{name}_pooled_40"][40:].any()
    assert not jax[f"{name}_pooled_0"].any()
    assert jax[f"{name}_lengths"] == len([1, 2, 4, 8, 16, 32, 64])
    assert min(jax[f"{name}_regions_{index}"] for index in range(3)) > 5


@pytest.mark.parametrize("name", ENTRIES)
def test_the_same_on_two_backends(
    models: dict[str, MaskRcnn], tensorflow: dict[str, Floats], photo: NDArray[np.uint8], name: str
) -> None:
    model = models[name]
    assert model.info().engine == "openvino"
    outputs = model.infer(model.preprocess(photo))
    for index, ours in enumerate(outputs):
        theirs = tensorflow[f"{name}_{index}"]
        assert ours.shape == theirs.shape
        assert float(np.abs(ours - theirs).max()) < TOLERANCE * max(1.0, float(np.abs(theirs).max()))
    found = model.detect(photo, score=0.2, iou=0.4, max_detections=20)
    assert len(found) >= 5
    np.testing.assert_allclose(found.scores, tensorflow[f"{name}_scores"], atol=TOLERANCE)
    np.testing.assert_allclose(found.boxes, tensorflow[f"{name}_boxes"], atol=0.05)
    assert found.class_ids.tolist() == tensorflow[f"{name}_class_ids"].tolist()
    assert found.masks is not None
    areas = np.asarray([mask.area for mask in found.masks])
    np.testing.assert_allclose(areas, tensorflow[f"{name}_areas"], atol=3, rtol=0.01)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("size", [(120, 170), (160, 90), (64, 64)])
def test_all_steps_against_the_slow_reference(models: dict[str, MaskRcnn], name: str, size: tuple[int, int]) -> None:
    model = models[name]
    image = scene(*size, seed=3)
    prepared = model.preprocess(image)
    canvas = (prepared.batch.shape[1], prepared.batch.shape[2])
    stages = model._stages
    trunk, _ = stages.trunk(canvas)
    *maps, logits, deltas = (output[0] for output in trunk.run(prepared.batch))
    steps = Steps(
        model._plan, prepared.placement, canvas, maps, logits, deltas, stages._box_head.run, stages._mask_head.run
    )
    expected = detect(steps, score=0.1, overlap=0.4, limit=20)
    found = model.detect(image, score=0.1, iou=0.4, max_detections=20)
    assert len(found) == len(expected) > 2
    assert found.masks is not None
    for box, score, class_id, mask, other in zip(
        found.boxes, found.scores, found.class_ids, found.masks, expected, strict=True
    ):
        np.testing.assert_allclose(box, other.box, atol=0.02)
        assert score == pytest.approx(other.score, abs=1e-3)
        assert class_id == other.label - 1
        canvas_of_mask = np.zeros(size, np.bool_)
        mask.paint(canvas_of_mask)
        assert (canvas_of_mask != other.mask).mean() < 0.002
    assert any(0.1 < mask.pixels.mean() < 0.9 for mask in found.masks), "masks are neither full nor empty"


@pytest.mark.parametrize("name", ENTRIES)
def test_a_batch_is_its_images(models: dict[str, MaskRcnn], name: str) -> None:
    from worker.models.mask_rcnn.preprocess import bounds_of

    model = models[name]
    prepared = [model.preprocess(scene(100, 128, seed)) for seed in range(3)]
    bounds = [bounds_of(model._plan, each.placement) for each in prepared]
    together = model._stages.find(np.concatenate([each.batch for each in prepared]), bounds)
    for index, each in enumerate(prepared):
        alone = model._stages.find(each.batch, [bounds[index]])
        mine = together.images == index
        assert mine.sum() > 10
        np.testing.assert_allclose(together.boxes[mine], alone.boxes, atol=1e-3)
        np.testing.assert_allclose(together.logits[mine], alone.logits, atol=1e-3)
        np.testing.assert_allclose(together.deltas[mine], alone.deltas, atol=1e-3)
    order = np.asarray([30, 5, 70], np.int64)
    canvas, classes = together.canvas, np.asarray([1, 2, 5])
    masks = model._stages.outline(canvas, together.maps, together.boxes[order], together.images[order], classes)
    assert masks.shape == (3, 28, 28)
    for index, chosen in enumerate(order):
        image = together.images[chosen]
        maps = [each[image : image + 1] for each in together.maps]
        alone_masks = model._stages.outline(
            canvas, maps, together.boxes[[chosen]], np.zeros(1, np.int64), classes[[index]]
        )
        np.testing.assert_allclose(masks[index], alone_masks[0], atol=1e-4)


def test_what_is_found_lies_in_the_photo(models: dict[str, MaskRcnn]) -> None:
    for model in models.values():
        for size in ((1, 1), (3, 400), (90, 33)):
            found = model.detect(scene(400, 400)[: size[0], : size[1]], score=0.05)
            assert found.masks is not None
            for box, mask in zip(found.boxes, found.masks, strict=True):
                assert 0 <= box[0] < box[2] <= size[1]
                assert 0 <= box[1] < box[3] <= size[0]
                height, width = mask.pixels.shape
                assert mask.left + width <= size[1]
                assert mask.top + height <= size[0]
            results = found.to_results(size)
            assert all(each.mask is not None for each in results)
        nothing = model.detect(scene(50, 50), score=0.999999)
        assert len(nothing) == 0
        assert nothing.masks == ()


def test_what_the_result_says_of_it(models: dict[str, MaskRcnn]) -> None:
    info = models["small"].info()
    assert (info.family, info.precision, info.input_size) == ("mask_rcnn", "f32", (128, 128))
    assert models["small"].labels == tuple(f"thing {index}" for index in range(5))


def test_loading_through_the_registry(small_files: MaskRcnnEntry, settings: Settings) -> None:
    assert isinstance(load_model(small_files, settings), MaskRcnn)
    (settings.weights_dir / "small.names").write_text("one\ntwo\n")
    with pytest.raises(PublicError, match=r"mrcnn_class_logits is 32x6 in small\.h5, and should be 32x3") as error:
        load_model(small_files, settings)
    assert error.value.code == "model_broken"


def test_the_cache_needs_no_keras(small_files: MaskRcnnEntry, settings: Settings) -> None:
    """A second process loads what the first one converted, without Keras and TensorFlow."""
    load_model(small_files, settings)
    program = f"""
import sys
from shared.entries import MaskRcnnEntry
from shared.settings import Settings
from worker.models.mask_rcnn.model import MaskRcnn
settings = Settings.model_validate_json({settings.model_dump_json()!r})
model = MaskRcnn.load(MaskRcnnEntry.model_validate_json({small_files.model_dump_json()!r}), settings)
model.warm_up()
sys.exit(" ".join({{"keras", "tensorflow"}} & set(sys.modules)) or 0)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, timeout=120)
