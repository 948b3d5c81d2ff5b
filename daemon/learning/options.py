"""Options of the ways of training, apart from the numbers' code so that plugins may show them."""

import math
from typing import Literal

from pydantic import Field

from daemon.contracts import Options


class HeadTraining(Options):
    """How the head is fitted."""

    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw", description="adamw (Loshchilov and Hutter, 2019), or sgd with momentum 0.9"
    )
    learning_rate: float = Field(1e-3, gt=0, le=1, description="size of the first step")
    weight_decay: float = Field(1e-4, ge=0, lt=1, description="pull of all weights towards 0")
    batch_size: int = Field(32, ge=1, le=4096, description="images for each step")
    epochs: int = Field(60, ge=1, le=10_000, description="most passes over the images")
    least_steps: int = Field(
        300, ge=0, description="fewest steps allowed: of few images more passes may be made"
    )
    patience: int = Field(
        6, ge=1, description="passes without a better validation loss before it stops"
    )
    validation: float = Field(
        0.15, ge=0, lt=0.5, description="share of the training side that says when to stop"
    )
    balance: bool = Field(True, description="give rare classes the weight of common ones")
    seed: int = Field(0, ge=0, lt=2**32, description="of every random choice")

    def passes(self, images: int) -> tuple[int, int]:
        """Return the most passes over so many images, and the patience, in passes."""
        steps = math.ceil(images / self.batch_size)
        most = max(self.epochs, math.ceil(self.least_steps / steps))
        return most, max(self.patience, math.ceil(self.least_steps / 10 / steps))


class Tuning(Options):
    """How the layers of the backbone are trained on.

    The first fifth stays: it finds edges and colours, which are the same everywhere, and since its
    maps are the largest, going back through it takes as long as through all the rest.
    """

    epochs: int = Field(16, ge=1, le=10_000, description="passes over the images")
    least_steps: int = Field(
        120, ge=1, description="fewest steps: of few images more passes are made"
    )
    learning_rate: float = Field(8e-4, gt=0, le=1, description="highest rate of the cosine")
    weight_decay: float = Field(1e-4, ge=0, lt=1, description="pull of all weights towards 0")
    batch_size: int = Field(32, ge=1, le=4096, description="images for each step")
    unfrozen: float = Field(
        0.8, gt=0, le=1, description="share of the backbone's layers, from the last, that learn"
    )
    label_smoothing: float = Field(
        0.1, ge=0, lt=1, description="share of each target spread evenly over all classes"
    )
    augment: float = Field(
        1.0, ge=0, le=2, description="strength of crops, flips and light changes; 0 is none"
    )

    def steps(self, images: int) -> int:
        """How many steps are made on so many images."""
        return max(self.epochs * math.ceil(images / self.size(images)), self.least_steps)

    def size(self, images: int) -> int:
        """Images for each step: half as many where there are few."""
        few = images < 8 * self.batch_size
        return min(images, max(1, self.batch_size // 2) if few else self.batch_size)
