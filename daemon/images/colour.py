"""Every Pillow mode as correct RGB.

Colours are taken as sRGB: an embedded ICC profile is not applied, in training and in serving
alike, because running a stranger's profile costs time and trust for a shift that a classifier
hardly notices.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WHITE = (255, 255, 255, 255)
_FULL_RANGES = {
    "I;16": (4095.0, 65535.0),  # 12-bit cameras write into 16 bits
    "I": (255.0, 4095.0, 65535.0),
    "F": (1.0, 255.0, 65535.0),
}


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB: alpha on white, deep greys brought down to 8 bits."""
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    colours = image if image.mode == "RGBA" else image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), colours).convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, np.float32), posinf=0.0, neginf=0.0)
    low, high = _range(values, _FULL_RANGES[image.mode[:4]])
    scaled = (values - low) * np.float32(255 / (high - low))
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _range(values: NDArray[np.float32], usual: tuple[float, ...]) -> tuple[float, float]:
    """Return what is black and what is white: the smallest usual range that holds all values.

    Deep greys do not say their range; where no usual one fits, it is their own.
    """
    low, high = float(values.min()), float(values.max())
    whole = next((full for full in usual if low >= 0 and high <= full), None)
    return (low, max(high, low + 1)) if whole is None else (0.0, whole)
