"""Multi-label head: each class is a yes or no of its own, an image may have several or none."""

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


class MultilabelOptions(Options):
    """Size of the hidden layer, and dropout."""

    hidden: int = Field(0, ge=0, description="units of a ReLU layer before the last; 0 is none")
    dropout: float = Field(
        0.2, ge=0, lt=1, description="share of values left out at random while training"
    )


class MultilabelHead:
    """Average pooling and one sigmoid a class."""

    name = "multilabel"
    reading = "independent"

    def __init__(self, options: MultilabelOptions) -> None:
        self._options = options

    def check(self, classes: Sequence[str]) -> None:
        """Raise `TrainingError` when there is no class."""
        if not classes:
            raise TrainingError(
                "head 'multilabel' needs at least one class, got none: add a folder of images"
            )

    def attach(self, features: "keras.KerasTensor", classes: int) -> "keras.KerasTensor":
        """Return one probability a class, `[N, C]`; they need not sum to 1."""
        from keras import layers

        x = layers.GlobalAveragePooling2D(name="head_pool")(features)
        if self._options.hidden:
            x = layers.Dense(self._options.hidden, "relu", name="head_hidden")(x)
        if self._options.dropout:
            x = layers.Dropout(self._options.dropout, name="head_dropout")(x)
        return layers.Dense(classes, "sigmoid", dtype="float32", name="head_scores")(x)

    def targets(self, indices: "NDArray[np.int64]", classes: int) -> "NDArray[np.float32]":
        """Return `float32[N, C]` of 0 and 1, from class numbers `[N]` or a matrix `[N, C]`.

        Raises `TrainingError` for a matrix of another width.
        """
        import numpy as np

        if indices.ndim == 1:
            return np.eye(classes, dtype=np.float32)[indices]
        if indices.shape[1] != classes:
            raise TrainingError(
                f"head 'multilabel' has {classes} classes, but its targets have "
                f"{indices.shape[1]} columns: give one column a class"
            )
        return indices.astype(np.float32)

    def loss(self) -> "keras.losses.Loss":
        """Return the binary cross-entropy, averaged over the classes."""
        import keras

        return keras.losses.BinaryCrossentropy()

    def metric(self) -> "keras.metrics.Metric":
        """Return the share of right answers among all yes-or-no questions."""
        import keras

        return keras.metrics.BinaryAccuracy(name="accuracy")

    def strengths(self) -> Sequence[float]:
        """Return strengths of the L2 penalty worth trying; none for a head that is not linear."""
        return () if self._options.hidden else (1.0, 10.0, 100.0, 300.0, 1_000.0, 3_000.0)

    def solve(
        self,
        layers: "keras.Model",
        rows: "NDArray[np.floating[Any]]",
        indices: "NDArray[np.int64]",
        weights: "NDArray[np.float32]",
        strength: float,
    ) -> None:
        """Set the weights of one L2-regularised logistic regression a class."""
        from daemon.training.linear import fit_linear, logistic

        classes = int(layers.output_shape[-1])
        found = fit_linear(rows, indices, weights, classes, logistic, strength)
        layers.get_layer("head_scores").set_weights([found.kernel, found.bias])


@hookimpl
def register_heads() -> "Iterable[Factory[Head]]":
    """Offer the head under its name."""
    return [Factory("multilabel", MultilabelHead, MultilabelOptions, "any of several classes")]
