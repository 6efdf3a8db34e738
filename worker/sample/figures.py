"""Walking people made of round solids, each with its own clothes and pace, from a random generator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SKIN: Final = ((0.80, 0.58, 0.45), (0.60, 0.40, 0.28), (0.38, 0.24, 0.16), (0.87, 0.68, 0.56))
HAIR: Final = ((0.05, 0.04, 0.04), (0.14, 0.08, 0.05), (0.30, 0.20, 0.11), (0.45, 0.44, 0.43))
TOPS: Final = (
    (0.08, 0.09, 0.13),
    (0.55, 0.09, 0.09),
    (0.12, 0.22, 0.45),
    (0.75, 0.74, 0.70),
    (0.15, 0.30, 0.20),
    (0.45, 0.36, 0.25),
    (0.70, 0.50, 0.12),
)
TROUSERS: Final = ((0.06, 0.07, 0.12), (0.10, 0.14, 0.24), (0.05, 0.05, 0.05), (0.30, 0.26, 0.20), (0.22, 0.23, 0.25))
SHOES: Final = ((0.03, 0.03, 0.03), (0.16, 0.09, 0.05), (0.55, 0.55, 0.55))

#: how thick a torso is from front to back, compared with its width
DEPTH: Final = 0.68

#: adds a part: its ends, their radii, and its group
Add: TypeAlias = Callable[[Floats, Floats, tuple[float, float], int], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A cone with round ends; parts of one group flow into each other.

    Args:
        first, second: the middles of its ends, in metres: to the right, up, away from the camera.
        radii: at the ends.
        group: of parts made of one cloth.
        depth: how thick it is from front to back, compared with its width.
    """

    first: Floats
    second: Floats
    radii: tuple[float, float]
    group: int
    depth: float = 1.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A person.

    Args:
        parts: of the body, standing at the origin and looking at the camera.
        colours: of each group, linear red, green, blue from 0 to 1.
        turn: to the left, in radians; pi is away from the camera.
        place: x and z of where it stands, in metres.
    """

    parts: tuple[Part, ...]
    colours: tuple[tuple[float, float, float], ...]
    turn: float
    place: tuple[float, float]


def make_figure(random: np.random.Generator, place: tuple[float, float]) -> Figure:
    """Somebody who walks, at a place on the ground."""
    size = float(random.uniform(0.93, 1.05))
    build = float(random.uniform(0.92, 1.12))
    stride = float(random.uniform(0.15, 0.5)) * (1 if random.random() < 0.5 else -1)
    coat = bool(random.random() < 0.35)
    pack = bool(random.random() < 0.3)
    parts: list[Part] = []

    def add(first: Floats, second: Floats, radii: tuple[float, float], group: int, depth: float = 1.0) -> None:
        parts.append(
            Part(first * size, second * size, (radii[0] * size * build, radii[1] * size * build), group, depth)
        )

    skin, hair, top, trousers, shoes, bag = range(6)
    for side in (-1, 1):
        _add_leg(add, side, stride * side, trousers, shoes)
        _add_arm(add, side, -0.8 * stride * side, top, skin)
    add(_at(-0.07, 0.95), _at(0.07, 0.95), (0.11, 0.11), top if coat else trousers, 0.85)
    add(_at(0, 1.02), _at(0, 1.32), (0.135, 0.165), top, DEPTH)
    add(_at(-0.15, 1.385), _at(0.15, 1.385), (0.07, 0.07), top)
    if coat:
        add(_at(0, 1.0), _at(0, 0.62), (0.15, 0.2), top, 0.8)
    add(_at(0, 1.40), _at(0, 1.52, 0.01), (0.06, 0.052), skin)
    add(_at(0, 1.58, -0.015), _at(0, 1.66, -0.005), (0.068, 0.082), skin, 1.12)
    long = float(random.uniform(0, 0.16)) if random.random() < 0.5 else 0.0
    add(_at(0, 1.645 - long, 0.04), _at(0, 1.69, 0.02), (0.075, 0.085), hair, 1.05)
    if pack:
        add(_at(0, 1.12, 0.17), _at(0, 1.32, 0.16), (0.12, 0.11), bag, 0.7)
    colours = tuple(_varied(random, choices) for choices in (SKIN, HAIR, TOPS, TROUSERS, SHOES, TOPS))
    turn = float(random.choice([0.0, np.pi, np.pi / 2, -np.pi / 2], p=[0.4, 0.25, 0.175, 0.175]))
    return Figure(tuple(parts), colours, turn + float(random.uniform(-0.45, 0.45)), place)


def _at(right: float, up: float, away: float = 0.0) -> Floats:
    return np.asarray([right, up, away], np.float32)


def _swing(angle: float, length: float) -> Floats:
    """What hangs down by `length`, swung to the front by `angle`."""
    return _at(0, -length * float(np.cos(angle)), -length * float(np.sin(angle)))


def _add_leg(add: Add, side: int, angle: float, trousers: int, shoes: int) -> None:
    hip = _at(0.085 * side, 0.92)
    bend = 0.12 if angle > 0 else 0.5 * abs(angle) + 0.15
    knee = hip + _swing(angle, 0.43)
    ankle = knee + _swing(angle - bend, 0.41)
    add(hip, knee, (0.085, 0.062), trousers)
    add(knee, ankle, (0.062, 0.046), trousers)
    toe = ankle + _at(0.02 * side, -0.03, -0.15) if angle > -0.1 else ankle + _at(0.02 * side, -0.09, -0.11)
    add(ankle + _at(0, -0.03, 0.03), toe, (0.05, 0.042), shoes)


def _add_arm(add: Add, side: int, angle: float, top: int, skin: int) -> None:
    shoulder = _at(0.19 * side, 1.385)
    elbow = shoulder + _swing(angle, 0.28) + _at(0.035 * side, 0)
    wrist = elbow + _swing(angle + 0.35, 0.25)
    add(shoulder, elbow, (0.06, 0.048), top)
    add(elbow, wrist, (0.048, 0.038), top)
    add(wrist, wrist + _swing(angle + 0.35, 0.09), (0.036, 0.032), skin)


def _varied(random: np.random.Generator, choices: tuple[tuple[float, float, float], ...]) -> tuple[float, float, float]:
    chosen = np.asarray(choices[int(random.integers(len(choices)))]) * random.uniform(0.85, 1.15)
    return float(chosen[0]), float(chosen[1]), float(chosen[2])
