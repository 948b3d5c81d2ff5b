"""One task: `auto` and all that it tries, beside scikit-learn on the same features."""

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.flowers.data import DATA, Flowers, Task
from daemon.app import Wiring
from daemon.benches import a_bench
from daemon.config import Selection, load
from daemon.contracts import Retrainer
from daemon.learning.dataset import Dataset, Example
from daemon.learning.schedule import Plan
from daemon.scores import is_unknown, read_scores, split_novelty
from daemon.training.bench import Bench
from daemon.training.challenger import Challenger
from daemon.training.features import compiled, read_pixels
from daemon.training.probing import Probe
from daemon.training.validation import class_numbers

REGRESSION = "regression"
_CONFIG = """\
state_dir: {state}
model:
  backbone: {{name: mobilenet_v2, alpha: 0.35}}
  weights: imagenet
"""

_FEW = 20  # labels a class


@dataclass(frozen=True, slots=True)
class Result:
    """What one method says of a task's fold, by image; `raw` is confidence before scaling.

    `strange` is the share of each set of strangers that `auto`'s model calls unknown.
    """

    method: str
    seconds: float
    taken: NDArray[np.int64]
    sure: NDArray[np.float32]
    raw: NDArray[np.float32]
    unknown: NDArray[np.bool_]
    strange: Mapping[str, float]
    chosen: str = ""


def make_wiring(out: Path) -> Wiring:
    """Return what the daemon would wire for these flowers; its state is kept under `out`."""
    os.environ.setdefault("KERAS_HOME", str(DATA / "keras"))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.yaml"
    path.write_text(_CONFIG.format(state=out / "state"), "utf-8")
    return Wiring(load(path, {}))


class _Spied:
    """A strategy whose challengers are kept, so that `auto` and what it tried cost one run."""

    def __init__(self, inner: Retrainer, kept: dict[str, tuple[Challenger, float]]) -> None:
        self.name = inner.name
        self.propose = inner.propose
        self._inner, self._kept = inner, kept

    def train(self, plan: Plan, dataset: Dataset, bench: Bench) -> Challenger:
        began = time.perf_counter()
        challenger = self._inner.train(plan, dataset, bench)
        self._kept[self.name] = challenger, time.perf_counter() - began
        return challenger


def run_task(
    wiring: Wiring,
    flowers: Flowers,
    task: Task,
    strangers: Mapping[str, list[Example]],
    budget_s: float,
) -> Iterator[Result]:
    """Yield the results of the regression, of each strategy, and of `auto`."""
    dataset = flowers.dataset(task)
    plan = Plan("auto", "measured", {}, budget_s, seed=0)
    kept: dict[str, tuple[Challenger, float]] = {}
    with a_bench(wiring, plan, _quiet) as bench:
        yield _regression(bench, dataset)

        def spied(name: str, options: Mapping[str, object]) -> Retrainer:
            measured = {**_folds(name, task.size), **options}
            inner = wiring.catalogue.retrainers.build(Selection(name, measured), Path())
            return _Spied(inner, kept)

        began = time.perf_counter()
        auto = wiring.catalogue.retrainers.build(Selection("auto"), Path())
        best = auto.train(plan, dataset, replace(bench, retrainer=spied))
        seconds = time.perf_counter() - began
        for name, (challenger, took) in kept.items():
            yield _result(name, challenger, took, bench, dataset, {})
        yield _result("auto", best, seconds, bench, dataset, strangers)


def _folds(strategy: str, size: int) -> dict[str, int]:
    """How many folds the slow strategies hold out.

    The clock would decide otherwise, and the figures depend on what else the machine does. The
    default budget buys these and more on two idle cores.
    """
    if strategy == "finetune":
        return {"folds": 5 if size <= _FEW else 3}
    return {"folds": 1} if strategy == "recipe" else {}


def _result(
    name: str,
    challenger: Challenger,
    seconds: float,
    bench: Bench,
    dataset: Dataset,
    strangers: Mapping[str, list[Example]],
) -> Result:
    scores = partial(_scores, challenger, bench)
    reading, temperature = challenger.recipe.head.reading, challenger.temperature
    raw, novelty = split_novelty(scores(dataset.on("holdout")), challenger.has_novelty)
    sure = read_scores(reading, raw, temperature)

    def share(examples: list[Example]) -> float:
        found, far = split_novelty(scores(examples), challenger.has_novelty)
        confidences = read_scores(reading, found, temperature)
        return float(is_unknown(confidences, far, challenger.limits).mean())

    return Result(
        name,
        seconds,
        sure.argmax(axis=1),
        sure.max(axis=1),
        read_scores(reading, raw).max(axis=1),
        is_unknown(sure, novelty, challenger.limits),
        {title: share(examples) for title, examples in strangers.items()},
        " | ".join(challenger.reasons),
    )


def _scores(
    challenger: Challenger, bench: Bench, examples: list[Example] | tuple[Example, ...]
) -> NDArray[np.float32]:
    run = compiled(challenger.model)
    chunks = read_pixels(examples, challenger.recipe.geometry, bench.limits)
    return np.concatenate([run(chunk.images) for chunk in chunks if chunk.items])


def _regression(bench: Bench, dataset: Dataset) -> Result:
    """scikit-learn's cross-validated logistic regression on the same standardised features."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    probe = Probe(bench, dataset.classes, dataset.examples, seed=0)
    learned, tested = (probe.answer(dataset.on(side)).pooled for side in ("train", "holdout"))
    began = time.perf_counter()
    scaler = StandardScaler().fit(learned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own future defaults
        model = LogisticRegressionCV(Cs=10, max_iter=1000)
        model.fit(scaler.transform(learned), class_numbers(dataset.on("train"), dataset.classes))
    sure = model.predict_proba(scaler.transform(tested)).astype(np.float32)
    seconds, most = time.perf_counter() - began, sure.max(axis=1)
    nothing = np.zeros(len(sure), bool)
    return Result(REGRESSION, seconds, sure.argmax(axis=1), most, most, nothing, {})


def _quiet(stage: str, done: int, total: int) -> None:
    pass
