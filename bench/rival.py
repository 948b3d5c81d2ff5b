"""What the daemon is compared with, as a process of its own.

    python -m bench.rival WAY SETUP

Loads what it needs, says `ready`, then goes through the files of each line on standard input (a
JSON list of paths) and answers `done`. SETUP is a pickled `WorkerSetup`. None of them keeps what
it finds out.
"""

import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.app import make_catalogue
from daemon.artifacts import MODEL_FILE, read_manifest
from daemon.classifier import load_model
from daemon.config import Selection, Settings
from daemon.contracts import CompiledRuntime, Executable, WorkerSetup
from daemon.quiet import hush_pillow, import_keras

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Go = Callable[[list[str]], object]
_BATCH = 4


def decoding(setup: WorkerSetup) -> Go:
    """Read and decode, as a worker does, and no more."""

    def go(files: list[str]) -> None:
        for _ in _decoded(setup, files):
            pass

    return go


def inferring(setup: WorkerSetup) -> Go:
    """Run the model in batches of its best size over pixels that are there already."""
    import numpy as np

    run, size = _executable(setup), setup.batch_size or _BATCH
    shape = (size, *_shape(setup))
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def go(files: list[str]) -> None:
        for start in range(0, len(files), size):
            run(pixels[: len(files) - start])

    return go


def bare(setup: WorkerSetup) -> Go:
    """Decode and run the model in turns, in batches of four, on one thread."""
    run = _executable(setup)

    def go(files: list[str]) -> None:
        for pixels in _decoded(setup, files):
            run(pixels)

    return go


def plain(setup: WorkerSetup) -> Go:
    """Load each image and predict it, one after the other, as Keras' own pages teach it."""
    import numpy as np

    model, height, width = _keras(setup)
    import keras

    def go(files: list[str]) -> None:
        for path in files:
            image = keras.utils.load_img(path, target_size=(height, width))
            model.predict(np.asarray(image, np.uint8)[np.newaxis], verbose=0)

    return go


def dataset(setup: WorkerSetup) -> Go:
    """Predict all files of a folder at once, through Keras' own way to read one."""
    model, height, width = _keras(setup)
    import keras

    def go(files: list[str]) -> None:
        images = keras.utils.image_dataset_from_directory(
            Path(files[0]).parent,
            labels=None,
            image_size=(height, width),
            shuffle=False,
            verbose=False,
        )
        model.predict(images.map(lambda batch: batch), verbose=0)

    return go


WAYS: Mapping[str, Callable[[WorkerSetup], Go]] = {
    "decode": decoding,
    "infer": inferring,
    "bare": bare,
    "plain": plain,
    "dataset": dataset,
}


def _decoded(setup: WorkerSetup, files: Sequence[str]) -> Iterator["NDArray[np.uint8]"]:
    import numpy as np

    from daemon.images.decode import decode

    geometry = read_manifest(setup.bundle).geometry
    pixels = np.empty((_BATCH, *_shape(setup)), np.uint8)
    for start in range(0, len(files), _BATCH):
        part = files[start : start + _BATCH]
        for slot, path in enumerate(part):
            decode(Path(path).read_bytes(), "", geometry, setup.limits, pixels[slot])
        yield pixels[: len(part)]


def _shape(setup: WorkerSetup) -> tuple[int, int, int]:
    geometry = read_manifest(setup.bundle).geometry
    return geometry.height, geometry.width, 3


def _executable(setup: WorkerSetup) -> Executable:
    choice = Selection(setup.runtime, setup.runtime_options)
    runtime = make_catalogue(Settings()).runtimes.build(choice, setup.base)
    if setup.compiled is not None and isinstance(runtime, CompiledRuntime):
        return runtime.open(setup.compiled, setup.max_batch)
    return runtime.load(setup.bundle, setup.max_batch)


def _keras(setup: WorkerSetup) -> tuple[Any, int, int]:
    make_catalogue(Settings())  # a plugin's own layers load only once the plugins are
    import_keras()
    model = load_model(setup.bundle / MODEL_FILE, read_manifest(setup.bundle).modules)
    height, width, _ = _shape(setup)
    return model, height, width


def main() -> None:
    """Answer on what was standard output; whatever else prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    hush_pillow()
    go = WAYS[sys.argv[1]](pickle.loads(Path(sys.argv[2]).read_bytes()))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        go(json.loads(line))
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
