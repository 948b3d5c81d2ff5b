"""The `keras` runtime: a bundle's model as one frozen TensorFlow graph."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.contracts import Executable, Factory, Options, Runtime
from daemon.errors import BundleError, RuntimeLoadError
from daemon.frozen import FrozenGraph, freeze
from daemon.hookspecs import hookimpl
from daemon.manifest import Manifest
from daemon.quiet import import_keras

if TYPE_CHECKING:
    import keras


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
        executable = FrozenGraph(freeze(model), max_batch)
        executable.warm_up()
        return executable


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
