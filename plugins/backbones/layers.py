"""Keras layers that the networks need and Keras does not ship.

Import this inside `build` only: it imports Keras.
"""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="classifyd")
class LocalResponseNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Divide each activation by the energy of its neighbours across channels.

    Krizhevsky, Sutskever, Hinton 2012, section 3.3, `float32[N, h, w, F]` to the same shape:
    b_i = a_i / (k + alpha * sum of a_j^2 over the `size` channels around i) ** beta.
    `size` is odd; channels beyond the first and last count as zero. (Caffe divides alpha by
    `size`; the paper and this layer do not.)
    """

    def __init__(
        self,
        size: int = 5,
        k: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = size
        self.k = k
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return the normalised activations."""
        return tf.nn.local_response_normalization(
            inputs, self.size // 2, bias=self.k, alpha=self.alpha, beta=self.beta
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape: nothing moves."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        own = {"size": self.size, "k": self.k, "alpha": self.alpha, "beta": self.beta}
        return {**super().get_config(), **own}
