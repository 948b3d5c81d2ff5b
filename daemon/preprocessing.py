"""How pixels become what a network expects, as data that belongs to the weights.

`Geometry` happens while decoding (the same code in training and serving); `Scaling` happens
inside the Keras graph, so that what is trained is what serves.
"""

from dataclasses import dataclass
from enum import StrEnum


class Fit(StrEnum):
    """How an image of another shape is brought to the input size."""

    STRETCH = "stretch"  # each axis on its own: nothing is cut off, proportions change
    CROP = "crop"  # the centred part with the input's proportions
    PAD = "pad"  # the whole image, with bars in mid grey


class Scaling(StrEnum):
    """From pixel values 0..255 (RGB) to the network's own range; names as in Keras."""

    NONE = "none"  # the network scales for itself
    UNIT = "unit"  # 0..1
    TF = "tf"  # -1..1
    TORCH = "torch"  # 0..1, then ImageNet's mean and deviation taken off, by channel
    CAFFE = "caffe"  # BGR, ImageNet's mean taken off, not scaled


@dataclass(frozen=True, slots=True)
class Geometry:
    """Input size in pixels and how an image is fitted to it.

    The one resize kernel is Pillow's antialiased bilinear; it is recorded in the manifest so
    that a bundle of another kernel is refused rather than served wrongly.
    """

    height: int
    width: int
    fit: Fit = Fit.STRETCH
    kernel: str = "bilinear-antialias"
