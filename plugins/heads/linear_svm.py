"""Linear support vector machine: one margin a class, the widest wins."""

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


class LinearSvmOptions(Options):
    """How features become a vector."""

    pooling: Literal["average", "max"] = Field(
        "average", description="how the feature map becomes a vector"
    )


class LinearSvmHead:
    """Pooling and one linear output a class, trained with the squared hinge loss.

    Tang, "Deep Learning using Linear Support Vector Machines", 2013: one machine a class, each
    telling its own images from all others.
    """

    name = "linear_svm"
    reading = "margins"

    def __init__(self, options: LinearSvmOptions) -> None:
        self._options = options

    def check(self, classes: Sequence[str]) -> None:
        """Raise `TrainingError` for fewer than two classes."""
        if len(classes) < 2:
            raise TrainingError(
                f"head 'linear_svm' needs at least two classes, got {len(classes)} "
                f"({', '.join(classes) or 'none'}): add images of another class"
            )

    def attach(self, features: "keras.KerasTensor", classes: int) -> "keras.KerasTensor":
        """Return one margin a class, `[N, C]`, any number; above 0 speaks for the class."""
        from keras import layers

        is_average = self._options.pooling == "average"
        pool = layers.GlobalAveragePooling2D if is_average else layers.GlobalMaxPooling2D
        x = pool(name="head_pool")(features)
        return layers.Dense(classes, dtype="float32", name="head_scores")(x)

    def targets(self, indices: "NDArray[np.int64]", classes: int) -> "NDArray[np.float32]":
        """Return `float32[N, C]`: 1 at the class, -1 elsewhere."""
        import numpy as np

        return 2 * np.eye(classes, dtype=np.float32)[indices] - 1

    def loss(self) -> "keras.losses.Loss":
        """Return the squared hinge loss, averaged over the classes."""
        import keras

        return keras.losses.SquaredHinge()

    def metric(self) -> "keras.metrics.Metric":
        """Return the share of images whose widest margin is at the right class."""
        import keras

        return keras.metrics.CategoricalAccuracy(name="accuracy")

    def strengths(self) -> Sequence[float]:
        """Return strengths of the L2 penalty worth trying."""
        return 10.0, 100.0, 1_000.0, 3_000.0, 10_000.0

    def solve(
        self,
        layers: "keras.Model",
        rows: "NDArray[np.floating[Any]]",
        indices: "NDArray[np.int64]",
        weights: "NDArray[np.float32]",
        strength: float,
    ) -> None:
        """Set the weights of least squared hinge loss on standardised features."""
        from daemon.training.linear import fit_linear, squared_hinge

        classes = int(layers.output_shape[-1])
        found = fit_linear(rows, indices, weights, classes, squared_hinge, strength)
        layers.get_layer("head_scores").set_weights([found.kernel, found.bias])


@hookimpl
def register_heads() -> "Iterable[Factory[Head]]":
    """Offer the head under its name."""
    return [Factory("linear_svm", LinearSvmHead, LinearSvmOptions, "one of several, by margins")]
