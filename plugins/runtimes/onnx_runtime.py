"""The `onnx` runtime: a bundle as an ONNX file, executed by ONNX Runtime."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from daemon.contracts import Executable, Factory, Options, Runtime
from daemon.errors import RuntimeLoadError
from daemon.hookspecs import hookimpl
from plugins.runtimes._installed import load, uncompiled, version_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.types.experimental import ConcreteFunction

_MODEL = "model.onnx"
_INSTALL = "classifyd[onnx]"
_OPSET = 18
_ERRORS_ONLY = 3


class OnnxOptions(Options):
    """Options of the `onnx` runtime."""

    threads: int = Field(
        1, ge=0, description="threads of one worker for one batch; 0: one for each processor"
    )


class OnnxRuntime:
    """Converts a bundle once, and runs it with ONNX Runtime on the processor."""

    name = "onnx"

    def __init__(self, options: OnnxOptions) -> None:
        self._options = options

    def key(self) -> Mapping[str, JsonValue]:
        """Return what the compiled form depends on beside bundle and processor.

        Raises `RuntimeLoadError` where ONNX Runtime or tf2onnx is not installed.
        """
        packages = ("onnxruntime", "tf2onnx")
        versions = {package: version_of(package, self.name, _INSTALL) for package in packages}
        return {**versions, **self._options.model_dump()}

    def variants(self) -> Sequence[Mapping[str, JsonValue]]:
        """Return none: it computes in 32 bits."""
        return []

    def compile(self, graph: "ConcreteFunction", folder: Path) -> None:
        """Write the model as ONNX into the folder."""
        convert = load("tf2onnx.convert", self.name, _INSTALL)
        # A frozen graph is right for networks whose constants its other ways in lose.
        model, _ = convert.from_graph_def(
            graph.graph.as_graph_def(),
            input_names=[tensor.name for tensor in graph.inputs],
            output_names=[tensor.name for tensor in graph.outputs],
            opset=_OPSET,
        )
        (folder / _MODEL).write_bytes(model.SerializeToString())

    def open(self, folder: Path, max_batch: int) -> Executable:
        """Load what `compile` wrote and run it once; raises `RuntimeLoadError`."""
        import numpy as np

        # It would write below the home and to the temporary folder, and tell its maker of its use.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        library, path = load("onnxruntime", self.name, _INSTALL), folder / _MODEL
        options = library.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a tree of errors of its own
            raise RuntimeLoadError(f"runtime onnx: {path}: {error}") from error
        (taken,) = session.get_inputs()

        def run(images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
            scores: NDArray[np.float32]
            (scores,) = session.run(None, {taken.name: images})
            return scores

        run(np.zeros((1, *taken.shape[1:]), np.uint8))
        return run

    def load(self, bundle: Path, max_batch: int) -> Executable:
        """Refuse: a bundle is compiled first."""
        raise uncompiled(self.name, bundle)


@hookimpl
def register_runtimes() -> Iterable[Factory[Runtime]]:
    """Offer `onnx`."""
    return [
        Factory(
            name=OnnxRuntime.name,
            build=OnnxRuntime,
            options=OnnxOptions,
            summary=f"executed by ONNX Runtime; pip install '{_INSTALL}'",
        )
    ]
