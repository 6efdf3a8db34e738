"""How solids look to a camera: rays that step through the room (sphere tracing), sunlight, shade and sky."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.sample.figures import Figure

Floats = NDArray[np.float32]

#: where the sun is, and the colours of its light and of the sky's
SUN: Final = np.asarray([-0.55, 0.72, -0.42], np.float32) / np.float32(np.linalg.norm([-0.55, 0.72, -0.42]))
SUN_LIGHT: Final = np.asarray([2.1, 1.95, 1.7], np.float32)
SKY_LIGHT: Final = np.asarray([0.55, 0.66, 0.85], np.float32)
GROUND_LIGHT: Final = np.asarray([0.30, 0.28, 0.25], np.float32)

#: parts of one group flow into each other over so many metres
BLEND: Final = 0.03
STEPS: Final = 40
SHADOW_STEPS: Final = 14
#: metres; nearer is touching
TOUCH: Final = 0.002
#: metres around a person in which there may be something of it
REACH: Final = 1.1


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera that looks level, away from itself.

    Args:
        width, height: of the picture in pixels.
        eye: how high it is, in metres.
        horizon: the row that it looks at, as a share of the height.
        focal: in pixels.
    """

    width: int
    height: int
    eye: float
    horizon: float
    focal: float

    def rays(self) -> Floats:
        """The direction of each pixel, length 1: float32 (height, width, 3)."""
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
        y = (self.horizon * self.height - np.arange(self.height) - 0.5) / self.focal
        found = np.empty((self.height, self.width, 3), np.float32)
        found[..., 0], found[..., 1], found[..., 2] = x, y[:, None], 1
        return np.asarray(found / np.linalg.norm(found, axis=-1, keepdims=True), np.float32)


class Solid:
    """A person in the room, to be asked how far away it is."""

    def __init__(self, figure: Figure) -> None:
        cos, sin = np.float32(np.cos(figure.turn)), np.float32(np.sin(figure.turn))
        self._turned = np.asarray([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32)
        self.place = np.asarray([figure.place[0], 0, figure.place[1]], np.float32)
        self._parts = figure.parts
        self._colours = np.asarray(figure.colours, np.float32)

    def own(self, points: Floats) -> Floats:
        """Points in the person's own room."""
        return np.asarray((points - self.place) @ self._turned, np.float32)

    def distance(self, points: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """How far points (N, 3) are from it, and which group is nearest: both (N,)."""
        points = self.own(points)
        groups = np.full((len(self._colours), len(points)), 9.0, np.float32)
        for part in self._parts:
            scale = np.asarray([1, 1, 1 / part.depth], np.float32)
            first, axis = part.first * scale, (part.second - part.first) * scale
            way = points * scale - first
            along = (way @ axis / max(float(axis @ axis), 1e-9)).clip(0, 1)
            radius = part.radii[0] + (part.radii[1] - part.radii[0]) * along
            length = np.linalg.norm(way - along[:, None] * axis, axis=1)
            found = (length - radius) * min(1.0, part.depth)
            near = groups[part.group]
            share = (0.5 + 0.5 * (near - found) / BLEND).clip(0, 1)
            groups[part.group] = near + (found - near) * share - BLEND * share * (1 - share)
        folds = np.sin(points[:, 1] * 41 + 3 * np.sin(points[:, 0] * 17 + points[:, 2] * 11))
        groups[2:4] += 0.0025 * folds
        nearest = groups.argmin(axis=0)
        return groups[nearest, np.arange(len(points))], nearest

    def normals(self, points: Floats) -> Floats:
        """The directions in which its surface looks at points (N, 3)."""
        corners = np.asarray([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
        found = sum(corner * self.distance(points + corner * 0.004)[0][:, None] for corner in corners)
        assert isinstance(found, np.ndarray)  # noqa: S101 -- not the 0 of an empty sum
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6), np.float32)

    def shade(self, points: Floats, start: float) -> Floats:
        """How much of the sun reaches points (N, 3), past this person: from 0 to 1, with soft edges."""
        reached = np.ones(len(points), np.float32)
        way = np.full(len(points), start, np.float32)
        for _ in range(SHADOW_STEPS):
            distance = self.distance(points + SUN * way[:, None])[0]
            reached = np.minimum(reached, (12 * distance / way).clip(0, 1))
            way += distance.clip(0.02, 0.35)
        return reached

    def colour(self, points: Floats, groups: NDArray[np.int64]) -> Floats:
        """The light that comes from points (N, 3) on its surface: linear (N, 3)."""
        normals = self.normals(points)
        own = self.own(points)
        cloth = np.sin(own[:, 0] * 260) * np.sin(own[:, 1] * 260) * 0.05 + np.sin(own @ np.asarray([23, 9, 31])) * 0.06
        albedo = self._colours[groups] * (1 + cloth[:, None])
        hollow = (self.distance(points + normals * 0.08)[0] / 0.08).clip(0.25, 1)
        sun = (normals @ SUN).clip(0, 1) * self.shade(points + normals * 0.01, 0.03)
        up = 0.5 + 0.5 * normals[:, 1:2]
        sky = SKY_LIGHT * up + GROUND_LIGHT * (1 - up)
        return np.asarray(albedo * (SUN_LIGHT * sun[:, None] + sky * hollow[:, None]), np.float32)


def draw_figure(picture: Floats, camera: Camera, figure: Figure) -> None:
    """Put a person and its shadow on the ground into a picture of what lies behind: linear (height, width, 3)."""
    solid = Solid(figure)
    rays = camera.rays()
    x, z = figure.place
    eye = np.asarray([0, camera.eye, 0], np.float32)
    scale = camera.focal / z
    middle, foot = camera.width / 2 + x * scale, camera.horizon * camera.height + camera.eye * scale
    left, right = (int(np.clip(middle + way * scale, 0, camera.width)) for way in (-1.2, 2.4))
    top, bottom = (int(np.clip(foot + way * scale, 0, camera.height)) for way in (-2.0, 0.45))
    box = np.s_[top:bottom, left:right]
    ways = rays[box].reshape(-1, 3)
    behind = picture[box].reshape(-1, 3)

    # the shadow, where the ground is seen
    down = ways[:, 1] < -1e-3
    ground = eye + ways[down] * (-camera.eye / ways[down, 1])[:, None]
    near = np.abs(ground - solid.place).max(axis=1) < 3.2
    shade = np.ones(len(behind), np.float32)
    spots = np.flatnonzero(down)[near]
    shade[spots] = solid.shade(ground[near], 0.01)
    contact = (solid.distance(ground[near])[0] / 0.25).clip(0.35, 1)
    behind = behind * (0.42 + 0.58 * shade)[:, None]
    behind[spots] *= contact[:, None]

    # the person
    distance = np.full(len(ways), z - REACH, np.float32)
    active = np.arange(len(ways))
    for _ in range(STEPS):
        step = solid.distance(eye + ways[active] * distance[active, None])[0]
        distance[active] += step
        active = active[(step > TOUCH) & (distance[active] < z + REACH)]
        if not len(active):
            break
    points = eye + ways * distance[:, None]
    seen = distance < z + REACH
    left_over, groups = solid.distance(points[seen])
    touched = left_over < 4 * TOUCH
    index = np.flatnonzero(seen)[touched]
    behind[index] = solid.colour(points[index], groups[touched])
    picture[box] = behind.reshape(picture[box].shape)
