"""Small images, each with a content of its own and an answer that is known beforehand."""

from pathlib import Path

from PIL import Image

SIDE = 24


def draw(path: Path, band: int, number: int) -> Path:
    """Write a grey PNG as bright as `band` of 10; `number` makes its content its own.

    It appears at once under its name, as a file that was moved there.
    """
    image = Image.new("RGB", (SIDE, SIDE), (round((band + 0.5) * 25.6),) * 3)
    for place in range(32):
        image.putpixel((place % SIDE, place // SIDE), (255 * (number >> place & 1),) * 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    image.save(part, "PNG")
    part.rename(path)
    return path
