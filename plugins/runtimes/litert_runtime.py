"""The `litert` runtime: a bundle as a LiteRT (TensorFlow Lite) file, computed by XNNPACK."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

from daemon.contracts import Executable, Factory, Options, Runtime
from daemon.errors import RuntimeLoadError
from daemon.hookspecs import hookimpl
from daemon.quiet import held_back
from plugins.runtimes._installed import load, uncompiled, version_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction

_MODEL = "model.tflite"
_INSTALL = "classifyd[litert]"


class LiteRtOptions(Options):
    """Options of the `litert` runtime."""

    threads: int = Field(1, ge=1, le=256, description="threads of one worker for one batch")


class LiteRtRuntime:
    """Converts a bundle once, and runs it with LiteRT: the least memory of all."""

    name = "litert"

    def __init__(self, options: LiteRtOptions) -> None:
        self._options = options

    def key(self) -> Mapping[str, JsonValue]:
        """Return what the compiled form depends on beside bundle and processor.

        Raises `RuntimeLoadError` where LiteRT is not installed.
        """
        return {
            "litert": version_of("ai-edge-litert", self.name, _INSTALL),
            "tensorflow": version_of("tensorflow", self.name, "tensorflow"),
            **self._options.model_dump(),
        }

    def variants(self) -> Sequence[Mapping[str, JsonValue]]:
        """Return none: it computes in 32 bits."""
        return []

    def compile(self, graph: "ConcreteFunction", folder: Path) -> None:
        """Write the model in LiteRT's own format into the folder."""
        import tensorflow as tf

        # Frozen, it is converted in a tenth of the time, and no weight is left behind.
        converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
        (folder / _MODEL).write_bytes(converter.convert())

    def open(self, folder: Path, max_batch: int) -> Executable:
        """Load what `compile` wrote and run it once; raises `RuntimeLoadError`."""
        import numpy as np

        path = folder / _MODEL
        with held_back():  # it greets on standard error
            interpreter = self._interpreter(path)
            run = _Interpreted(interpreter)
            run(np.zeros((1, *run.shape[1:]), np.uint8))
        return run

    def _interpreter(self, path: Path) -> Any:
        module = load("ai_edge_litert.interpreter", self.name, _INSTALL)
        try:
            return module.Interpreter(model_path=str(path), num_threads=self._options.threads)
        except (ValueError, RuntimeError) as error:
            raise RuntimeLoadError(f"runtime litert: {path}: {error}") from error

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Refuse: a bundle is compiled first."""
        raise uncompiled(self.name, bundle)


class _Interpreted:
    """An interpreter that takes any number of images; a size it had before costs nothing."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, self._output = taken["index"], given["index"]
        self.shape: tuple[int, ...] = tuple(map(int, taken["shape"]))
        self._interpreter.allocate_tensors()

    def __call__(self, images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        """Score `uint8[N, H, W, 3]` as `float32[N, C]`, N from 1."""
        if images.shape != self.shape:
            self._interpreter.resize_tensor_input(self._input, images.shape)
            self._interpreter.allocate_tensors()
            self.shape = images.shape
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        scores: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return scores


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer `litert`."""
    return [
        Factory(
            name=LiteRtRuntime.name,
            build=LiteRtRuntime,
            options=LiteRtOptions,
            summary=f"compiled by LiteRT, with the least memory; pip install '{_INSTALL}'",
        )
    ]
