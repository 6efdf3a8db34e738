import cv2
import keras
import numpy as np
import pytest

from shared.entries import Preprocessing
from worker.models.classifiers.preprocess import prepare, scale_colours

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "module"),
    [
        ("caffe", keras.applications.resnet50),
        ("tf", keras.applications.mobilenet_v2),
        ("tf", keras.applications.nasnet),
        ("torch", keras.applications.densenet),
        ("none", keras.applications.efficientnet),
    ],
)
def test_colours_as_keras_scales_them(mode: Preprocessing, module: object) -> None:
    expected = module.preprocess_input(PIXELS.astype(np.float32))  # type: ignore[attr-defined]
    found = scale_colours(PIXELS, mode)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * 255)


def test_colours_from_0_to_1() -> None:
    np.testing.assert_allclose(scale_colours(PIXELS, "unit"), PIXELS / 255, atol=1e-6)


def test_the_input_is_filled() -> None:
    image = np.zeros((30, 200, 3), np.uint8)
    image[:, 100:] = (255, 0, 128)
    prepared = prepare(image, 64, 32, "none")
    assert prepared.batch.shape == (1, 64, 32, 3)
    np.testing.assert_array_equal(prepared.batch[0, :, 0], 0)
    np.testing.assert_array_equal(prepared.batch[0, :, -1], np.tile((255, 0, 128), (64, 1)))
    box = prepared.placement.to_original(np.asarray([[0, 0, 32, 64]], np.float32))
    np.testing.assert_allclose(box, [[0, 0, 200, 30]])


def test_a_small_photo_is_enlarged_as_tensorflow_does() -> None:
    """Bilinear with half-pixel centres, as `image_dataset_from_directory` does."""
    image = PIXELS[0]
    expected = keras.ops.image.resize(image[None].astype(np.float32), (21, 18), interpolation="bilinear")
    found = prepare(image, 21, 18, "none").batch
    assert np.abs(found - np.asarray(keras.ops.convert_to_numpy(expected))).max() <= 1


def test_no_pixel_of_a_large_photo_is_overlooked() -> None:
    image = np.zeros((640, 640, 3), np.uint8)
    image[::8] = 255  # bilinear, of two rows in twenty, sees none of these
    values = prepare(image, 32, 32, "none").batch
    assert np.abs(values - 255 * 2.5 / 20).max() < 16
    plain = cv2.resize(image, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert plain.max() == 0
