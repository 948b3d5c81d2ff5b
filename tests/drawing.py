"""Images of the tests' own making."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def draw(path: Path, band: int, size: int = 24, number: int | None = None) -> Path:
    """Write a nearly grey image, of the format that the name says, as bright as `band` of 10.

    `number` (by default taken from the path) makes the content its own.
    """
    seed = zlib.crc32(bytes(path)) if number is None else number
    noise = np.random.default_rng(seed).integers(-6, 7, (size, size, 3))
    pixels = (round((band + 0.5) * 25.6) + noise).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
