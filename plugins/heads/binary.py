"""Binary head: flatten, a dense ReLU layer, and one sigmoid between exactly two classes."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from daemon.contracts import Factory, Head, Options
from daemon.errors import TrainingError
from daemon.hookspecs import hookimpl

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray


class BinaryOptions(Options):
    """Size of the hidden layer."""

    hidden: int = Field(256, ge=1, description="units of the ReLU layer before the sigmoid")


class BinaryHead:
    """One sigmoid p: the first class has 1-p, the second p."""

    name = "binary"
    reading = "binary"

    def __init__(self, options: BinaryOptions) -> None:
        self._options = options

    def check(self, classes: Sequence[str]) -> None:
        """Raise `TrainingError` unless there are exactly two classes."""
        if len(classes) != 2:
            raise TrainingError(
                f"head 'binary' tells exactly two classes apart, got {len(classes)} "
                f"({', '.join(classes) or 'none'}): use `head: softmax`"
            )

    def attach(self, features: "keras.KerasTensor", classes: int) -> "keras.KerasTensor":
        """Return the probability of the second class, `[N, 1]`."""
        from keras import layers

        x = layers.Flatten(name="head_pool")(features)
        x = layers.Dense(self._options.hidden, "relu", name="head_hidden")(x)
        return layers.Dense(1, "sigmoid", dtype="float32", name="head_scores")(x)

    def targets(self, indices: "NDArray[np.int64]", classes: int) -> "NDArray[np.float32]":
        """Return the class numbers 0 and 1 as a column: `float32[N, 1]`."""
        import numpy as np

        return np.asarray(indices, dtype=np.float32)[:, None]

    def loss(self) -> "keras.losses.Loss":
        """Return the binary cross-entropy."""
        import keras

        return keras.losses.BinaryCrossentropy()

    def metric(self) -> "keras.metrics.Metric":
        """Return the share of images on the right side of 0.5."""
        import keras

        return keras.metrics.BinaryAccuracy(name="accuracy")


@hookimpl
def register_heads() -> "Iterable[Factory[Head]]":
    """Offer the head under its name."""
    return [Factory("binary", BinaryHead, BinaryOptions, "one of exactly two classes")]
