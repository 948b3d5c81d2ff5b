"""What the cache of features saves: `python -m bench.flowers.warm [--epochs N]`.

The same head is trained for the same epochs three times, each in a process of its own: on features
that have yet to be computed, on those that are still there from that run, and by `model.fit`
through the frozen backbone, as most tutorials do it. Prints a table.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.flowers.data import Flowers, Task
from bench.flowers.methods import make_wiring
from daemon.benches import a_bench
from daemon.classifier import build_classifier
from daemon.learning.dataset import Dataset, Example
from daemon.learning.options import HeadTraining
from daemon.learning.schedule import Plan
from daemon.quiet import hush_pillow, import_keras
from daemon.training.bench import Bench
from daemon.training.features import read_pixels
from daemon.training.probing import Probe
from daemon.training.validation import class_numbers

_WAYS = {
    "first": "features computed, then the head trained",
    "second": "features from the cache",
    "fit": "`model.fit` through the frozen backbone",
}
Scores = Callable[[Sequence[Example]], NDArray[np.float32]]


def main() -> None:
    """Run each way in its own process, in turn, and print what it took."""
    given = _parser().parse_args()
    if given.way:
        print(json.dumps(_measured(given.way, given.out, given.epochs)))
        return
    with tempfile.TemporaryDirectory(prefix="warm-") as folder:
        found = {way: _child(way, Path(folder), given.epochs) for way in _WAYS}
    print("| way | seconds | of the processor | peak memory, MB | right on the fold |")
    print("| --- | --- | --- | --- | --- |")
    for way, told in _WAYS.items():
        cells = (f"{found[way][name]:,}" for name in ("wall_s", "cpu_s", "peak_mb", "accuracy"))
        print(f"| {told} | {' | '.join(cells)} |")
    for name in ("wall_s", "cpu_s"):
        print(f"{name}: fit / second = {found['fit'][name] / found['second'][name]:.1f}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.flowers.warm", description=__doc__)
    parser.add_argument("--epochs", type=int, default=HeadTraining().epochs, help="passes of each")
    parser.add_argument("--way", choices=_WAYS, help="measure this one alone, in --out")
    parser.add_argument("--out", type=Path, help="folder of the cache")
    return parser


def _child(way: str, out: Path, epochs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.flowers.warm", "--way", way, "--out", str(out)]
    told = subprocess.check_output([*command, "--epochs", str(epochs)], text=True)
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def _measured(way: str, out: Path, epochs: int) -> dict[str, float]:
    """Time one way, without the imports, which are the same for all."""
    hush_pillow()
    import_keras()
    wiring, dataset = make_wiring(out), Flowers().dataset(Task(size=120, fold=0))
    options = HeadTraining(epochs=epochs, validation=0.0)
    train = _through_backbone if way == "fit" else _on_features
    with a_bench(wiring, Plan("probe", "measured", {}, 3600.0, 0), _quiet) as bench:
        began, began_cpu = time.perf_counter(), time.process_time()
        answer = train(bench, dataset, options)
        wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        tested = dataset.on("holdout")
        right = answer(tested).argmax(axis=1) == class_numbers(tested, dataset.classes)
    return {
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "peak_mb": peak,
        "accuracy": round(float(right.mean()), 3),
    }


def _on_features(bench: Bench, dataset: Dataset, options: HeadTraining) -> Scores:
    """The fold's features are computed or read, too: they are in the cache with the others."""
    probe = Probe(bench, dataset.classes, dataset.examples, seed=0)
    answer = probe.fit(dataset.on("train"), options.weight_decay, options)
    return lambda examples: answer(examples).scores


def _through_backbone(bench: Bench, dataset: Dataset, options: HeadTraining) -> Scores:
    """Images are decoded once and kept in memory, which is in favour of this way."""
    import keras

    recipe = bench.recipe
    model = build_classifier(
        recipe.backbone, recipe.head, dataset.classes, recipe.geometry, recipe.weights
    )
    optimizer = keras.optimizers.AdamW(options.learning_rate, weight_decay=options.weight_decay)
    model.compile(optimizer, recipe.head.loss())
    learned = dataset.on("train")
    indices = class_numbers(learned, dataset.classes)
    model.fit(
        _pixels(bench, learned),
        recipe.head.targets(indices, len(dataset.classes)),
        batch_size=options.batch_size,
        epochs=options.epochs,
        verbose=0,
    )
    return lambda examples: np.asarray(model.predict(_pixels(bench, examples), verbose=0))


def _pixels(bench: Bench, examples: Sequence[Example]) -> NDArray[np.uint8]:
    chunks = read_pixels(examples, bench.recipe.geometry, bench.limits)
    return np.concatenate([chunk.images for chunk in chunks])


def _quiet(stage: str, done: int, total: int) -> None:
    pass


if __name__ == "__main__":
    main()
