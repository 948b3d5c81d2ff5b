"""A classifier as one frozen TensorFlow graph: what runtimes execute, or make their own form of.

The graph is traced once with a free batch dimension and its variables are folded in as
constants, which lets TensorFlow merge batch normalisation into the convolutions before it
(a third faster than the traced model on a processor).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction


def freeze(model: "keras.Model") -> "ConcreteFunction":
    """Return a classifier as a graph: `uint8[N, H, W, 3]` in, raw scores out."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = tf.function(lambda images: model(images, training=False), autograph=False)
    images = tf.TensorSpec(model.input_shape, tf.uint8, name="images")
    return convert_variables_to_constants_v2(traced.get_concrete_function(images))


class FrozenGraph:
    """Callable on any number of images: sliced to the largest batch, padded to the next size.

    Each new size costs memory and set-up in the libraries below, each odd one never seen again.
    """

    def __init__(self, graph: "ConcreteFunction", max_batch: int) -> None:
        self._graph = graph
        self._sizes = batch_sizes(max_batch)

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Score `uint8[N, H, W, 3]` as `float32[N, C]`, N from 1."""
        import numpy as np

        step = self._sizes[-1]
        parts = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate(parts)

    def warm_up(self) -> None:
        """Run the smallest and the largest batch, so that a lack of memory shows now."""
        import numpy as np

        shape = self._graph.inputs[0].shape[1:]
        for size in {self._sizes[0], self._sizes[-1]}:
            self._run(np.zeros((size, *shape), np.uint8))

    def _run(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np
        import tensorflow as tf

        count = len(images)
        size = next(size for size in self._sizes if size >= count)
        padded = np.pad(images, [(0, size - count), (0, 0), (0, 0), (0, 0)])
        (scores,) = self._graph(tf.constant(padded))
        return np.asarray(scores.numpy()[:count])


def batch_sizes(max_batch: int) -> Sequence[int]:
    """Return the powers of two below `max_batch`, and `max_batch`: 1, 2, 4, …"""
    powers = (2**exponent for exponent in range(max_batch.bit_length()))
    return [*(power for power in powers if power < max_batch), max_batch]
