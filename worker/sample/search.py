"""Tries one person after the other until the models find everybody."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from worker.models.base import DetectionModel, Image
from worker.sample.figures import make_figure
from worker.sample.light import Camera, Floats, draw_figure
from worker.sample.street import draw_street

#: the picture is drawn larger by this factor, which smooths its edges
FINER: Final = 1.5
WIDTH: Final = 960
HEIGHT: Final = 640
CAMERA: Final = Camera(round(WIDTH * FINER), round(HEIGHT * FINER), eye=1.55, horizon=0.42, focal=900 * FINER)
#: where people walk: x and z in metres, the farthest first
PLACES: Final = ((-1.0, 7.6), (2.1, 6.9), (-2.4, 6.1), (0.5, 5.2))
#: somebody whom every model finds with this score is good enough; else the best of so many
GOOD: Final = 0.5
TRIES: Final = 8
#: of a box and the person it is for
MATCH: Final = 0.5


def draw_sample(models: Sequence[DetectionModel], seed: int) -> tuple[Image, list[float]]:
    """The picture, uint8 RGB, and for each person the lowest score that a model gave it, 0 if one did not find it.

    Args:
        models: that know the class "person".
        seed: of all that is random.
    """
    linear = draw_street(CAMERA, np.random.default_rng([seed]))
    scores: list[float] = []
    for number, place in enumerate(PLACES):
        best: tuple[float, Floats] = (-1.0, linear)
        for attempt in range(TRIES):
            drawn = linear.copy()
            draw_figure(drawn, CAMERA, make_figure(np.random.default_rng([seed, number, attempt]), place))
            score = min(_score(model, _develop(drawn, seed), place) for model in models)
            if score > best[0]:
                best = score, drawn
            if score >= GOOD:
                break
        scores.append(best[0])
        linear = best[1]
    return _develop(linear, seed), scores


def _develop(linear: Floats, seed: int) -> Image:
    """From light to a picture of the final size, with a little noise."""
    small = cv2.resize(linear, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    tone = 0.62 * small * (1 + small * 0.155) / (1 + 0.62 * small)
    gamma = np.where(tone <= 0.0031308, 12.92 * tone, 1.055 * np.maximum(tone, 1e-6) ** (1 / 2.4) - 0.055)
    noise = np.random.default_rng(seed).normal(0, 2, gamma.shape)
    return np.asarray((255 * gamma + noise).clip(0, 255), np.uint8)


def _score(model: DetectionModel, image: Image, place: tuple[float, float]) -> float:
    """How sure a model is of a person who stands at a place."""
    scale = CAMERA.focal / FINER / place[1]
    middle, foot = WIDTH / 2 + place[0] * scale, CAMERA.horizon * HEIGHT + CAMERA.eye * scale
    found = model.detect(image, score=0.05, iou=0.45, max_detections=100)
    wanted = np.asarray([middle - 0.38 * scale, foot - 1.78 * scale, middle + 0.38 * scale, foot])
    for box, score, class_id in zip(found.boxes, found.scores.tolist(), found.class_ids.tolist(), strict=True):
        shared = (np.minimum(box[2:], wanted[2:]) - np.maximum(box[:2], wanted[:2])).clip(0).prod()
        union = (box[2:] - box[:2]).prod() + (wanted[2:] - wanted[:2]).prod() - shared
        if found.labels[class_id] == "person" and shared >= MATCH * union:
            return float(score)
    return 0.0
