"""Whole pictures: a creature somewhere in a scene, some way up, in light good or bad."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from daemon.demo.creatures import COLOURS, KINDS, WHITE, Colour, Pen

if TYPE_CHECKING:
    from PIL import Image

SIDE = 160
_FINE = 2
"""Drawn so many times larger and made smaller afterwards, for smooth edges."""


def draw(kind: str, number: int) -> "Image.Image":
    """Return the picture of a creature that has this number; the same number draws the same."""
    random = Random(f"{kind} {number}")
    scene = random.choice(SCENES)(random)
    creature = _creature(kind, random, round(scene.width * random.uniform(0.6, 0.95)))
    free = scene.width - creature.width
    x, y = (round(free * random.uniform(0, 1)) for _ in "xy")
    scene.paste(creature, (x, y), creature)
    return _in_light(_small(scene), random)


def write(folder: Path, kind: str, numbers: Sequence[int]) -> list[Path]:
    """Write pictures as JPEG files into a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        paths.append(folder / f"{kind}-{number:02}.jpg")
        draw(kind, number).save(paths[-1], quality=90)
    return paths


def write_scenery(folder: Path) -> Path:
    """Write a scene without any creature, and return its path."""
    random, path = Random("scenery"), folder / "scenery.jpg"
    _in_light(_small(meadow(random)), random).save(path, quality=90)
    return path


def _small(scene: "Image.Image") -> "Image.Image":
    from PIL import Image

    return scene.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _creature(kind: str, random: Random, side: int) -> "Image.Image":
    from PIL import Image

    layer = Image.new("RGBA", (side, side))
    colour, second = random.sample(COLOURS, 2)
    pen = Pen(layer, colour, second)
    KINDS[kind](pen, random)
    if random.random() < 0.3:
        _hat(pen, random)
    return layer.rotate(random.gauss(0, 14), Image.Resampling.BICUBIC)


def _hat(pen: Pen, random: Random) -> None:
    colour, x = random.choice(COLOURS), random.uniform(-0.15, 0.15)
    pen.shape([(x - 0.3, -0.62), (x + 0.3, -0.62), (x, -0.99)], colour)
    pen.ellipse(x, -0.93, 0.06, 0.06, WHITE)


def _in_light(image: "Image.Image", random: Random) -> "Image.Image":
    """Make the picture brighter or darker, and sometimes blurred, as a camera would."""
    from PIL import ImageEnhance, ImageFilter

    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.7, 1.15))
    image = ImageEnhance.Color(image).enhance(random.uniform(0.5, 1.1))
    return image.filter(ImageFilter.GaussianBlur(random.choice((0, 0, 0.8, 1.4))))


def _ground(top: Colour, bottom: Colour) -> "Image.Image":
    from PIL import Image

    side = SIDE * _FINE
    mask = Image.linear_gradient("L").resize((side, side))
    return Image.composite(
        Image.new("RGB", mask.size, bottom), Image.new("RGB", mask.size, top), mask
    )


def night(random: Random) -> "Image.Image":
    """Stars and a moon."""
    image = _ground((24, 26, 62), (72, 58, 110))
    pen = Pen(image, WHITE, WHITE)
    for _ in range(14):
        x, y = random.uniform(-1, 1), random.uniform(-1, 0.6)
        pen.dot(x, y, 0.02, WHITE)
    pen.dot(random.uniform(-0.8, 0.8), -0.75, 0.16, (250, 236, 176))
    return image


def meadow(random: Random) -> "Image.Image":
    """Hills with flowers."""
    image = _ground((170, 214, 240), (226, 240, 236))
    pen = Pen(image, WHITE, WHITE)
    for x, green in ((-0.7, (128, 186, 98)), (0.6, (104, 166, 84))):
        pen.ellipse(x + random.uniform(-0.2, 0.2), 1.2, 1.3, 0.75, green)
    for _ in range(7):
        pen.dot(random.uniform(-1, 1), random.uniform(0.6, 1), 0.05, random.choice(COLOURS))
    return image


def sea(random: Random) -> "Image.Image":
    """Bubbles over sand."""
    image = _ground((96, 190, 206), (28, 96, 146))
    pen = Pen(image, WHITE, WHITE)
    pen.ellipse(random.uniform(-0.4, 0.4), 1.25, 1.8, 0.5, (222, 200, 150))
    for _ in range(9):
        x, y, size = random.uniform(-1, 1), random.uniform(-1, 0.8), random.uniform(0.03, 0.09)
        pen.dot(x, y, size, (190, 228, 236))
    return image


def room(random: Random) -> "Image.Image":
    """Striped wallpaper and a floor."""
    paper = random.choice(COLOURS)
    image = _ground(paper, paper)
    pen = Pen(image, WHITE, WHITE)
    pale = tuple((2 * part + 255) // 3 for part in paper)
    for stripe in range(-5, 6):
        pen.line([(stripe / 5, -1), (stripe / 5, 1)], (pale[0], pale[1], pale[2]), 2)
    pen.shape([(-1.1, 0.6), (1.1, 0.6), (1.1, 1.1), (-1.1, 1.1)], (150, 110, 80))
    return image


SCENES: Sequence[Callable[[Random], "Image.Image"]] = (night, meadow, sea, room)
