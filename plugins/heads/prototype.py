"""Prototype head: an image belongs to the class whose mean it is most like.

Usable from one example a class. Snell et al., "Prototypical Networks for Few-shot Learning"
(2017), with features centred and brought to one length as in Wang et al., "SimpleShot" (2019).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from daemon.contracts import Factory, Head, Options
from daemon.errors import TrainingError
from daemon.hookspecs import hookimpl

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


class PrototypeOptions(Options):
    """How likeness becomes probability."""

    sharpness: float = Field(
        10.0, gt=0, description="what cosines are multiplied by before the softmax"
    )


class PrototypeHead:
    """Average pooling, centring, and the cosine to one vector a class."""

    name = "prototype"
    reading = "probabilities"

    def __init__(self, options: PrototypeOptions) -> None:
        self._options = options

    def check(self, classes: Sequence[str]) -> None:
        """Raise `TrainingError` for fewer than two classes."""
        if len(classes) < 2:
            raise TrainingError(
                f"head 'prototype' needs at least two classes, got {len(classes)} "
                f"({', '.join(classes) or 'none'}): add images of another class"
            )

    def attach(self, features: "keras.KerasTensor", classes: int) -> "keras.KerasTensor":
        """Return probabilities `[N, C]` that sum to 1: softmax of the scaled cosines."""
        import keras
        from keras import layers

        x = layers.GlobalAveragePooling2D(name="head_pool")(features)
        # Frozen, batch normalisation subtracts a stored mean: that is all it is here for.
        x = layers.BatchNormalization(
            center=False, scale=False, epsilon=0.0, trainable=False, name="head_centre"
        )(x)
        x = layers.UnitNormalization(name="head_length")(x)
        x = layers.Dense(
            classes,
            use_bias=False,
            kernel_constraint=keras.constraints.UnitNorm(),
            dtype="float32",
            name="head_cosines",
        )(x)
        x = layers.Rescaling(self._options.sharpness, dtype="float32", name="head_sharpness")(x)
        return layers.Softmax(dtype="float32", name="head_scores")(x)

    def targets(self, indices: "NDArray[np.int64]", classes: int) -> "NDArray[np.float32]":
        """Return one row a class number, with a 1 at that class: `float32[N, C]`."""
        import numpy as np

        return np.eye(classes, dtype=np.float32)[indices]

    def loss(self) -> "keras.losses.Loss":
        """Return the categorical cross-entropy."""
        import keras

        return keras.losses.CategoricalCrossentropy()

    def metric(self) -> "keras.metrics.Metric":
        """Return the share of images whose highest probability is at the right class."""
        import keras

        return keras.metrics.CategoricalAccuracy(name="accuracy")

    def strengths(self) -> Sequence[float]:
        """Return the one way there is: means have nothing to regularise."""
        return (0.0,)

    def solve(
        self,
        layers: "keras.Model",
        rows: "NDArray[np.floating[Any]]",
        indices: "NDArray[np.int64]",
        weights: "NDArray[np.float32]",
        strength: float,
    ) -> None:
        """Set the centre, and one mean a class; `weights` and `strength` change nothing."""
        import numpy as np

        classes = int(layers.output_shape[-1])
        means = np.stack([rows[indices == number].mean(axis=0, dtype=np.float64)
                          for number in range(classes)])  # fmt: skip
        centre = means.mean(axis=0)
        units = np.stack([_mean_direction(rows[indices == n] - centre) for n in range(classes)])
        layers.get_layer("head_centre").set_weights([centre, np.ones_like(centre)])
        layers.get_layer("head_cosines").set_weights([units.T])


def _mean_direction(rows: "NDArray[np.floating[Any]]") -> "NDArray[np.floating[Any]]":
    import numpy as np

    mean = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12))


@hookimpl
def register_heads() -> "Iterable[Factory[Head]]":
    """Offer the head under its name."""
    return [
        Factory(
            "prototype",
            PrototypeHead,
            PrototypeOptions,
            "likest class mean; one image a class will do",
        )
    ]
