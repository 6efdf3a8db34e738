"""A street in the afternoon, for people to walk on: sky, a row of houses, trees, a road and a pavement."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.sample.light import Camera

Floats = NDArray[np.float32]

#: metres from the camera to the houses, and to where the road begins and ends
HOUSES: Final = 26.0
ROAD: Final = (11.0, 20.0)
#: of a house's front
FRONTS: Final = ((0.52, 0.42, 0.33), (0.44, 0.25, 0.19), (0.60, 0.57, 0.50), (0.36, 0.38, 0.40))
#: of the low sun on walls
WALL_LIGHT: Final = np.asarray([1.45, 1.22, 0.95], np.float32)


def draw_street(camera: Camera, random: np.random.Generator) -> Floats:
    """What the camera sees without people: linear light (height, width, 3)."""
    rays = camera.rays()
    picture = _sky(rays)
    _add_houses(picture, rays, camera, random)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), camera.width / 700), np.float32)
    _add_trees(picture, camera, random)
    _add_ground(picture, rays, camera, random)
    return picture


def _noise(random: np.random.Generator, size: tuple[int, int], *cells: int) -> Floats:
    """Smooth spots of several sizes, about -1 to 1."""
    found = np.zeros(size, np.float32)
    for count in cells:
        coarse = random.normal(0, 1, (count, count)).astype(np.float32)
        found += cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(found / max(1, len(cells)), np.float32)


def _sky(rays: Floats) -> Floats:
    up = rays[..., 1:2].clip(0, 1)
    low, high = np.asarray([0.78, 0.86, 0.95], np.float32), np.asarray([0.25, 0.45, 0.85], np.float32)
    return np.asarray(low * (1 - up) + high * up, np.float32)


def _add_houses(picture: Floats, rays: Floats, camera: Camera, random: np.random.Generator) -> None:
    x = rays[..., 0] / rays[..., 2] * HOUSES
    y = rays[..., 1] / rays[..., 2] * HOUSES + camera.eye
    start = -26.0
    while start < 26:
        width, height = float(random.uniform(6, 10)), float(random.uniform(7.5, 13))
        front = np.asarray(FRONTS[int(random.integers(len(FRONTS)))], np.float32) * float(random.uniform(0.8, 1.15))
        floor, bay = float(random.uniform(2.8, 3.4)), width / int(random.integers(3, 5))
        inside = (x >= start) & (x < start + width) & (y < height) & (y > -1)
        across, up = (x - start) % bay / bay, y % floor / floor
        window = inside & (across > 0.28) & (across < 0.72) & (up > 0.3) & (up < 0.8)
        frame = inside & (across > 0.24) & (across < 0.76) & (up > 0.26) & (up < 0.84) & ~window
        picture[inside] = front * WALL_LIGHT * (1 + 0.06 * _noise(random, inside.shape, 90, 200)[inside])[:, None]
        picture[frame] = front * WALL_LIGHT * 1.35
        number = ((x - start) // bay * 7 + y // floor * 3).astype(int)
        glass = 0.10 + 0.05 * (number % 4)[window]
        picture[window] = glass[:, None] * np.asarray([0.8, 1.0, 1.25], np.float32)
        picture[inside & (y > height - 0.35)] = front * WALL_LIGHT * 0.7
        start += width


def _add_trees(picture: Floats, camera: Camera, random: np.random.Generator) -> None:
    away = 22.5
    scale = camera.focal / away
    foot = camera.horizon * camera.height + camera.eye * scale
    rows, columns = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    for place in np.arange(-16, 17, 5.5) + random.uniform(-1, 1, 6):
        middle = camera.width / 2 + float(place) * scale
        crown = float(random.uniform(1.5, 2.2)) * scale
        trunk = (np.abs(columns - middle) < 0.13 * scale) & (rows < foot) & (rows > foot - 3 * scale)
        picture[trunk] = (0.09, 0.07, 0.05)
        height = foot - float(random.uniform(3.8, 4.6)) * scale
        leaves = _noise(random, picture.shape[:2], 40, 90, 180)
        reach = np.hypot((columns - middle) / crown, (rows - height) / (1.1 * crown))
        inside = reach + 0.2 * leaves < 1
        lit = 0.6 + 0.4 * ((height - rows) / crown + (middle - columns) / crown * 0.5)
        green = np.asarray([0.10, 0.20, 0.05], np.float32) * (lit.clip(0.25, 1.4) * (1 + 0.5 * leaves))[..., None]
        picture[inside] = green.clip(0.01, 1)[inside]


def _add_ground(picture: Floats, rays: Floats, camera: Camera, random: np.random.Generator) -> None:
    down = rays[..., 1] < -1e-3
    way = np.where(down, -camera.eye / np.minimum(rays[..., 1], -1e-3), 0)
    x, z = rays[..., 0] * way, rays[..., 2] * way
    down &= z < HOUSES
    fine = np.clip(6 / np.maximum(z, 1), 0.1, 1)
    grain = _noise(random, x.shape, 60, 240, 480) * 0.08 * fine + random.normal(0, 0.03, x.shape) * fine
    slab = np.asarray([0.46, 0.44, 0.41], np.float32) * (1 + grain)[..., None]
    number = np.floor(x / 0.8) * 13 + np.floor(z / 0.8) * 7
    slab *= (1 + 0.05 * np.sin(number * 12.9))[..., None]
    width = 0.012 + 0.0012 * z
    joint = np.minimum(np.abs((x / 0.8 + 0.5) % 1 - 0.5), np.abs((z / 0.8 + 0.5) % 1 - 0.5)) * 0.8
    slab *= (1 - 0.45 * (1 - (joint / width).clip(0, 1)) * np.clip(9 / np.maximum(z, 1), 0, 1))[..., None]
    asphalt = np.asarray([0.16, 0.16, 0.17], np.float32) * (1 + grain)[..., None]
    line = (np.abs(z - sum(ROAD) / 2) < 0.09) & (x % 4 < 2)
    asphalt[line] = 0.62
    on_road = (z > ROAD[0]) & (z < ROAD[1])
    kerb = (np.abs(z - ROAD[0]) < 0.12) | (np.abs(z - ROAD[1]) < 0.12)
    surface = np.where(on_road[..., None], asphalt, slab)
    surface[kerb] = 0.55
    light = np.asarray([1.75, 1.68, 1.6], np.float32)
    picture[down] = (surface * light)[down]
