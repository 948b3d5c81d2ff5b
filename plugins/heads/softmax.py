"""Softmax head: each image belongs to exactly one of two or more classes."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from daemon.contracts import Factory, Head, Options
from daemon.errors import TrainingError
from daemon.hookspecs import hookimpl

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


class SoftmaxOptions(Options):
    """How features become probabilities."""

    pooling: Literal["average", "flatten", "max"] = Field(
        "average", description="how the feature map becomes a vector"
    )
    hidden: int = Field(0, ge=0, description="units of a ReLU layer before the last; 0 is none")
    dropout: float = Field(
        0.2, ge=0, lt=1, description="share of values left out at random while training"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each target spread evenly over all classes"
    )


class SoftmaxHead:
    """Pooling, an optional hidden layer, dropout, and one softmax over all classes."""

    name = "softmax"
    reading = "probabilities"

    def __init__(self, options: SoftmaxOptions) -> None:
        self._options = options

    def check(self, classes: Sequence[str]) -> None:
        """Raise `TrainingError` for fewer than two classes."""
        if len(classes) < 2:
            raise TrainingError(
                f"head 'softmax' needs at least two classes, got {len(classes)} "
                f"({', '.join(classes) or 'none'}): add a folder of images of another class"
            )

    def attach(self, features: "keras.KerasTensor", classes: int) -> "keras.KerasTensor":
        """Return probabilities `[N, C]` that sum to 1."""
        from keras import layers

        x = self._pooled(features)
        if self._options.hidden:
            x = layers.Dense(self._options.hidden, "relu", name="head_hidden")(x)
        if self._options.dropout:
            x = layers.Dropout(self._options.dropout, name="head_dropout")(x)
        return layers.Dense(classes, "softmax", dtype="float32", name="head_scores")(x)

    def targets(self, indices: "NDArray[np.int64]", classes: int) -> "NDArray[np.float32]":
        """Return one row a class number, with a 1 at that class: `float32[N, C]`."""
        import numpy as np

        return np.eye(classes, dtype=np.float32)[indices]

    def loss(self) -> "keras.losses.Loss":
        """Return the categorical cross-entropy."""
        import keras

        return keras.losses.CategoricalCrossentropy(label_smoothing=self._options.label_smoothing)

    def metric(self) -> "keras.metrics.Metric":
        """Return the share of images whose highest probability is at the right class."""
        import keras

        return keras.metrics.CategoricalAccuracy(name="accuracy")

    def strengths(self) -> Sequence[float]:
        """Return strengths of the L2 penalty worth trying; none for a head that is not linear."""
        if self._options.hidden or self._options.pooling == "flatten":
            return ()
        return 1.0, 10.0, 30.0, 100.0, 300.0

    def solve(
        self,
        layers: "keras.Model",
        rows: "NDArray[np.floating[Any]]",
        indices: "NDArray[np.int64]",
        weights: "NDArray[np.float32]",
        strength: float,
    ) -> None:
        """Set the weights of L2-regularised softmax regression on standardised features."""
        from daemon.training.linear import cross_entropy, fit_linear

        classes = int(layers.output_shape[-1])
        found = fit_linear(rows, indices, weights, classes, cross_entropy, strength)
        layers.get_layer("head_scores").set_weights([found.kernel, found.bias])

    def _pooled(self, features: "keras.KerasTensor") -> "keras.KerasTensor":
        from keras import layers

        kind = {
            "average": layers.GlobalAveragePooling2D,
            "flatten": layers.Flatten,
            "max": layers.GlobalMaxPooling2D,
        }[self._options.pooling]
        return kind(name="head_pool")(features)


@hookimpl
def register_heads() -> "Iterable[Factory[Head]]":
    """Offer the head under its name."""
    return [Factory("softmax", SoftmaxHead, SoftmaxOptions, "one of several classes")]
