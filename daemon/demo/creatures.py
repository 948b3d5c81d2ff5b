"""Four kinds of creatures, drawn: what the demonstration learns to tell apart.

They share colours, eyes and hats, so that only the shape tells one kind from another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (38, 30, 46)
WHITE: Colour = (250, 248, 240)
COLOURS: Sequence[Colour] = (
    (226, 92, 84),
    (242, 169, 59),
    (104, 178, 92),
    (72, 149, 205),
    (150, 107, 194),
    (232, 132, 172),
    (196, 186, 168),
)


@dataclass(frozen=True)
class Pen:
    """Draws outlined shapes on a square layer, in coordinates from -1 to 1."""

    layer: "Image.Image"
    colour: Colour
    second: Colour

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """An ellipse about (x, y)."""
        self._draw().ellipse(
            (*self._at((x - rx, y - ry)), *self._at((x + rx, y + ry))), fill, INK, self._width
        )

    def dot(self, x: float, y: float, radius: float, fill: Colour) -> None:
        """A disc without outline."""
        corners = (*self._at((x - radius, y - radius)), *self._at((x + radius, y + radius)))
        self._draw().ellipse(corners, fill)

    def box(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """A box with round corners about (x, y)."""
        corners = (*self._at((x - rx, y - ry)), *self._at((x + rx, y + ry)))
        radius = min(rx, ry) * 0.12 * self.layer.width
        self._draw().rounded_rectangle(corners, radius, fill, INK, self._width)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        """A closed line with straight sides."""
        self._draw().polygon([self._at(point) for point in points], fill, INK, self._width)

    def line(self, points: Sequence[Point], colour: Colour = INK, weight: float = 1.0) -> None:
        """An open line, `weight` times as thick as an outline."""
        width = max(1, round(self._width * weight))
        self._draw().line([self._at(point) for point in points], colour, width, joint="curve")

    def _draw(self) -> "ImageDraw.ImageDraw":
        from PIL import ImageDraw

        return ImageDraw.Draw(self.layer)

    def _at(self, point: Point) -> Point:
        half = self.layer.width / 2
        return half * (1 + point[0]), half * (1 + point[1])

    @property
    def _width(self) -> int:
        return max(1, self.layer.width // 40)


def owl(pen: Pen, random: Random) -> None:
    """A plump body with ears, wings and a beak."""
    spread = random.uniform(0.0, 0.15)
    for side in (-1, 1):
        pen.shape([(0.5 * side, -0.4), (0.42 * side, -0.85), (0.1 * side, -0.55)], pen.colour)
        pen.ellipse(0.1 * side, 0.82, 0.12, 0.09, COLOURS[1])
    pen.ellipse(0, 0.1, 0.58, 0.72, pen.colour)
    for side in (-1, 1):
        pen.ellipse((0.52 + spread) * side, 0.2, 0.16, 0.42, pen.second)
    pen.ellipse(0, 0.38, 0.34, 0.38, pen.second)
    _eyes(pen, random, -0.25, 0.24, 0.2)
    pen.shape([(-0.09, -0.12), (0.09, -0.12), (0, 0.08)], COLOURS[1])


def robot(pen: Pen, random: Random) -> None:
    """A square head on a square body."""
    reach = random.uniform(-0.3, 0.3)
    for side in (-1, 1):
        pen.line([(0.45 * side, 0.35), (0.8 * side, 0.35 + reach * side)], weight=3)
        pen.box(0.25 * side, 0.8, 0.12, 0.12, pen.second)
    pen.box(0, 0.42, 0.48, 0.34, pen.second)
    pen.box(0, -0.28, 0.6, 0.42, pen.colour)
    if random.random() < 0.7:
        pen.line([(0, -0.7), (0, -0.88)], weight=1.5)
        pen.ellipse(0, -0.9, 0.08, 0.08, COLOURS[0])
    _eyes(pen, random, -0.35, 0.26, 0.17)
    pen.box(0, -0.03, 0.3, 0.08, WHITE)
    for x in (-0.1, 0.1):
        pen.line([(x, -0.1), (x, 0.04)])


def ghost(pen: Pen, random: Random) -> None:
    """A dome that ends in waves."""
    import math

    waves, phase = random.choice((3, 4)), random.uniform(0, 6)
    dome = [(0.6 * math.cos(a / 12), -0.25 - 0.6 * math.sin(a / 12)) for a in range(38)]
    hem = [
        (-0.6 + 1.2 * step / 24, 0.72 + 0.12 * math.sin(step / 24 * waves * 6.28 + phase))
        for step in range(25)
    ]
    pen.shape([*dome, *hem], pen.colour)
    for side in (-1, 1):
        pen.ellipse(0.66 * side, 0.15, 0.12, 0.17, pen.colour)
    _eyes(pen, random, -0.3, 0.24, 0.17)
    pen.ellipse(0, 0.08, 0.12, random.uniform(0.06, 0.18), INK)


def octopus(pen: Pen, random: Random) -> None:
    """A round head on curling arms."""
    import math

    for arm in range(6):
        x, curl = -0.45 + 0.18 * arm, random.uniform(-0.2, 0.2)
        steps = [step / 8 for step in range(9)]
        path = [(x + (x * 0.5 + curl) * s * s, 0.1 + 0.75 * math.sin(s * 1.5)) for s in steps]
        pen.line(path, weight=6)
        pen.line(path, pen.colour, weight=4)
    pen.ellipse(0, -0.25, 0.58, 0.55, pen.colour)
    for x, y in ((-0.35, -0.6), (0.38, -0.55), (0.05, -0.7)):
        pen.ellipse(x, y, 0.07, 0.05, pen.second)
    _eyes(pen, random, -0.25, 0.22, 0.18)
    pen.line([(-0.12, 0.05), (0, 0.1), (0.12, 0.05)])


def _eyes(pen: Pen, random: Random, y: float, apart: float, size: float) -> None:
    glance = random.uniform(-0.4, 0.4) * size
    for side in (-1, 1):
        pen.ellipse(apart * side, y, size, size, WHITE)
        pen.ellipse(apart * side + glance, y + abs(glance) / 2, size / 2.2, size / 2.2, INK)


Creature = Callable[[Pen, Random], None]
KINDS: Mapping[str, Creature] = {"ghost": ghost, "octopus": octopus, "owl": owl, "robot": robot}
