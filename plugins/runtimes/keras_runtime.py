"""The `keras` runtime: a bundle's model as one frozen TensorFlow graph.

The graph is traced once with a free batch dimension and its variables are folded in as
constants, which lets TensorFlow merge batch normalisation into the convolutions before it
(a third faster than the traced model on a processor). Batches are padded to few sizes: each new
size costs memory and set-up in the libraries below, each odd one never seen again.
"""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.contracts import Executable, Factory, Options, Runtime
from daemon.errors import BundleError, RuntimeLoadError
from daemon.hookspecs import hookimpl
from daemon.manifest import Manifest
from daemon.quiet import import_keras

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray


class KerasOptions(Options):
    """Options of the `keras` runtime."""

    intra_threads: Annotated[
        int, Field(ge=0, description="threads for one operation; 0: one for each processor")
    ] = 0


class KerasRuntime:
    """Runs bundles with TensorFlow, on a GPU where there is one."""

    name = "keras"

    def __init__(self, options: KerasOptions) -> None:
        self._options = options

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Verify and load the bundle, then run its smallest and largest batch once.

        Raises `BundleError` when the model does not fit its manifest, `RuntimeLoadError` when
        TensorFlow cannot be set up as asked.
        """
        manifest = read_manifest(bundle)
        import_keras()
        _configure(self._options.intra_threads)
        model = load_model(bundle / MODEL_FILE, manifest.modules)
        _check(model, manifest, bundle)
        shape = (manifest.geometry.height, manifest.geometry.width, 3)
        executable = FrozenGraph(_freeze(model), batch_sizes(max_batch), shape)
        executable.warm_up()
        return executable


class FrozenGraph:
    """Callable on any number of images: sliced to the largest batch, padded to the next size."""

    def __init__(
        self,
        graph: "tf.types.experimental.ConcreteFunction",
        sizes: Sequence[int],
        shape: Sequence[int],
    ) -> None:
        self._graph = graph
        self._sizes = tuple(sizes)
        self._shape = tuple(shape)

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Score `uint8[N, H, W, 3]` as `float32[N, C]`, N from 1."""
        import numpy as np

        step = self._sizes[-1]
        parts = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate(parts)

    def warm_up(self) -> None:
        """Run the smallest and the largest batch, so that a lack of memory shows now."""
        import numpy as np

        for size in {self._sizes[0], self._sizes[-1]}:
            self._run(np.zeros((size, *self._shape), np.uint8))

    def _run(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        import numpy as np
        import tensorflow as tf

        count = len(images)
        size = next(size for size in self._sizes if size >= count)
        padded = np.pad(images, [(0, size - count), (0, 0), (0, 0), (0, 0)])
        (scores,) = self._graph(tf.constant(padded))
        return np.asarray(scores.numpy()[:count])


def batch_sizes(max_batch: int) -> list[int]:
    """Return the powers of two below `max_batch`, and `max_batch`: 1, 2, 4, …"""
    powers = (2**exponent for exponent in range(max_batch.bit_length()))
    return [*(power for power in powers if power < max_batch), max_batch]


def _configure(intra_threads: int) -> None:
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # TensorFlow already runs: that much is settled
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)  # others use it too
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == intra_threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(intra_threads)
    except RuntimeError as error:
        raise RuntimeLoadError(
            f"runtime keras: intra_threads {intra_threads} comes too late, TensorFlow already"
            f" runs in this process ({error}); restart the daemon to change it"
        ) from error


def _check(model: "keras.Model", manifest: Manifest, bundle: Path) -> None:
    geometry = manifest.geometry
    expected = (None, geometry.height, geometry.width, 3), (None, manifest.output_width)
    found = model.input_shape, model.output_shape
    if found != expected or model.inputs[0].dtype != "uint8":
        raise BundleError(
            f"bundle {bundle}: its model takes {model.inputs[0].dtype}{found[0]} and gives"
            f" {found[1]}, its manifest says uint8{expected[0]} and {expected[1]}"
            f" ({len(manifest.classes)} classes, {manifest.reading}); train the model again"
        )


def _freeze(model: "keras.Model") -> "tf.types.experimental.ConcreteFunction":
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = tf.function(lambda images: model(images, training=False), autograph=False)
    images = tf.TensorSpec(model.input_shape, tf.uint8)
    return convert_variables_to_constants_v2(traced.get_concrete_function(images))


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer `keras`."""
    return [
        Factory(
            name=KerasRuntime.name,
            build=KerasRuntime,
            options=KerasOptions,
            summary="TensorFlow itself, on a processor or a GPU; nothing else to install",
        )
    ]
