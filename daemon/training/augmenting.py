"""Small changes that leave the label as it is: crops, mirror images, light."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Augmenting:
    """What is done to each of n images: a window `[n, 4]` (a flipped one is mirrored), and light
    as factor and offset `[n, 1, 1, 1]`."""

    windows: Any
    factors: Any
    offsets: Any

    def tensors(self) -> tuple[Any, Any, Any]:
        """Return them for a traced step."""
        import tensorflow as tf

        return tf.constant(self.windows), tf.constant(self.factors), tf.constant(self.offsets)


def applied(images: Any, windows: Any, factors: Any, offsets: Any) -> Any:
    """Change a tensor of pixels `uint8[n, H, W, 3]`; returns the same shape and type."""
    import tensorflow as tf

    size = tf.shape(images)
    cut = tf.image.crop_and_resize(
        tf.cast(images, tf.float32), windows, tf.range(size[0]), size[1:3]
    )
    return tf.cast(tf.clip_by_value(cut * factors + offsets, 0, 255), tf.uint8)


def draw(random: np.random.Generator, count: int, strength: float) -> Augmenting:
    """Draw changes for `count` images; 0 is none.

    At strength 1 a window holds 70 to 100 % of the area with sides stretched by up to a tenth,
    half of the images are mirrored, and light changes by up to a fifth.
    """
    side = np.sqrt(random.uniform(max(0.1, 1 - 0.3 * strength), 1, count))
    stretch = np.exp(random.uniform(-0.1, 0.1, count) * strength)
    height, width = np.minimum(side * stretch, 1), np.minimum(side / stretch, 1)
    top, left = random.uniform(0, 1 - height), random.uniform(0, 1 - width)
    mirrored = random.random(count) < (0.5 if strength else 0)
    first, last = np.where(mirrored, left + width, left), np.where(mirrored, left, left + width)
    factors = random.uniform(1 - 0.2 * strength, 1 + 0.2 * strength, (count, 1, 1, 1))
    offsets = random.uniform(-12 * strength, 12 * strength, (count, 1, 1, 1))
    windows = np.stack([top, first, top + height, last], axis=1)
    return Augmenting(_single(windows), _single(factors), _single(offsets))


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return values.astype(np.float32)
