"""Bringing an upright RGB image to the input size; one kernel for training and serving."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daemon.preprocessing import Fit, Geometry

_MID_GREY = 128


def fit_into(image: Image.Image, geometry: Geometry, out: "NDArray[np.uint8]") -> Image.Image:
    """Write the image as `uint8[H, W, 3]` into `out`, resized as `geometry` says.

    Returns the smallest version at hand that still shows the whole image.
    """
    size = geometry.width, geometry.height
    match geometry.fit:
        case Fit.STRETCH:
            whole = _resized(image, size)
            out[...] = np.asarray(whole)
        case Fit.CROP:
            whole = image
            out[...] = np.asarray(_resized(image, size, _centred(image.size, size)))
        case Fit.PAD:
            whole = _pad(image, size, out)
    return whole


def _resized(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    return image.resize(size, Image.Resampling.BILINEAR, box)


def _centred(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest centred box with the target's proportions: left, top, right, bottom."""
    scale = min(size[0] / target[0], size[1] / target[1])
    left = (size[0] - scale * target[0]) / 2
    top = (size[1] - scale * target[1]) / 2
    return max(left, 0.0), max(top, 0.0), min(size[0] - left, size[0]), min(size[1] - top, size[1])


def _pad(image: Image.Image, target: tuple[int, int], out: "NDArray[np.uint8]") -> Image.Image:
    scale = min(target[0] / image.width, target[1] / image.height)
    width = min(max(round(image.width * scale), 1), target[0])
    height = min(max(round(image.height * scale), 1), target[1])
    left, top = (target[0] - width) // 2, (target[1] - height) // 2
    out[...] = _MID_GREY
    whole = _resized(image, (width, height))
    out[top : top + height, left : left + width] = np.asarray(whole)
    return whole
