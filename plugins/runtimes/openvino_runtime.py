"""The `openvino` runtime: a bundle compiled for this processor, served without TensorFlow."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, JsonValue

from daemon.contracts import Executable, Factory, Options, Runtime
from daemon.errors import RuntimeLoadError
from daemon.hookspecs import hookimpl
from daemon.processor import has_bf16, processor
from plugins.runtimes._installed import load, uncompiled, version_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction

_MODEL = "model.xml"


class OpenVinoOptions(Options):
    """Options of the `openvino` runtime."""

    precision: Literal["f32", "bf16"] = Field(
        "f32",
        description="numbers to compute with: f32 gives Keras' own answers; bf16 is up to twice"
        " as fast on processors that have it, and may give another label now and then",
    )
    threads: int = Field(
        1, ge=0, description="threads of one worker for one batch; 0: one for each processor"
    )


class OpenVinoRuntime:
    """Converts a bundle once, and runs it with OpenVINO on the processor."""

    name = "openvino"

    def __init__(self, options: OpenVinoOptions) -> None:
        self._options = options

    def key(self) -> Mapping[str, JsonValue]:
        """Return what the compiled form depends on beside bundle and processor.

        Raises `RuntimeLoadError` where OpenVINO is not installed.
        """
        version = version_of("openvino", self.name, "openvino")
        return {"openvino": version, **self._options.model_dump()}

    def variants(self) -> Sequence[Mapping[str, JsonValue]]:
        """Return the option of 16-bit numbers where the processor has them."""
        return [{"precision": "bf16"}] if has_bf16(processor()["flags"]) else []

    def compile(self, graph: "ConcreteFunction", folder: Path) -> None:
        """Write the model in OpenVINO's own format into the folder."""
        openvino = _openvino()
        model = openvino.convert_model(graph.graph.as_graph_def())
        openvino.save_model(model, folder / _MODEL, compress_to_fp16=False)

    def open(self, folder: Path, max_batch: int) -> Executable:
        """Load what `compile` wrote and run it once; raises `RuntimeLoadError`."""
        import numpy as np

        openvino = _openvino()
        settings = {
            "INFERENCE_PRECISION_HINT": self._options.precision,  # its own default may be bf16
            "INFERENCE_NUM_THREADS": self._options.threads,
            "NUM_STREAMS": 1,
            # It would bind the one thread of every worker to the same processor.
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            compiled = openvino.Core().compile_model(folder / _MODEL, "CPU", settings)
        except RuntimeError as error:
            raise RuntimeLoadError(f"runtime openvino: {folder / _MODEL}: {error}") from error
        request = compiled.create_infer_request()

        def run(images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
            (scores,) = request.infer([images]).values()
            return np.array(scores, np.float32)

        _, height, width, channels = compiled.input(0).partial_shape
        shape = (1, *(side.get_length() for side in (height, width, channels)))
        run(np.zeros(shape, np.uint8))
        return run

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Refuse: a bundle is compiled first."""
        raise uncompiled(self.name, bundle)


def _openvino() -> Any:
    # Without this module OpenVINO has nothing to report to its makers with, and falls back to a
    # stub of its own: nothing is sent anywhere.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return load("openvino", OpenVinoRuntime.name, "openvino")


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer `openvino`."""
    return [
        Factory(
            name=OpenVinoRuntime.name,
            build=OpenVinoRuntime,
            options=OpenVinoOptions,
            summary="compiled for this processor: several times faster, and a fraction of memory",
        )
    ]
