"""A head on cached features of the frozen backbone, and its regularisation by cross-validation."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import NDArray

from daemon.classifier import build_classifier, features_model
from daemon.contracts import Head, SolvedHead
from daemon.errors import TrainingError
from daemon.learning.dataset import Example
from daemon.learning.options import HeadTraining
from daemon.training.bench import Bench
from daemon.training.challenger import OutOfFold
from daemon.training.features import (
    Features,
    ItemT,
    compiled,
    cut,
    extract_features,
    open_cache,
    snapshot,
)
from daemon.training.fitting import class_weights, fit_head, memberships
from daemon.training.split import split_holdout
from daemon.training.validation import (
    FOLDS,
    Answers,
    affordable,
    cross_validate,
    fold_numbers,
    judge,
)

if TYPE_CHECKING:
    import keras

_BLOCK = 256
DECAYS = (1e-4, 1e-2)
"""Weight decays worth trying for heads that are trained by descent."""


class Probe:
    """A new head on a frozen backbone: features are computed once, fits take seconds.

    One classifier is fitted again and again; `examples` are those that could be read.
    """

    def __init__(
        self, bench: Bench, classes: Sequence[str], examples: Sequence[Example], seed: int
    ) -> None:
        self.classes, self.seed, self._bench = tuple(classes), seed, bench
        self.model = _classifier(bench, classes, seed)
        front, self._back = cut(self.model)
        self._features = self._extract(front, examples)
        self._pooled = self._average(front, examples)
        self.examples = self._features.items
        _check_classes(classes, self.examples)
        self._forget = snapshot(self._back)
        self._run = compiled(self._back)

    def strengths(self) -> Sequence[float]:
        """Return the regularisations worth trying, whichever way this head is fitted."""
        head = self._bench.recipe.head
        return head.strengths() if is_solved(head) else DECAYS

    def fit(
        self, examples: Sequence[Example], strength: float, training: HeadTraining | None = None
    ) -> Callable[[Sequence[Example]], Answers]:
        """Fit the head from its fresh weights; `training` is for heads trained by descent."""
        head = self._bench.recipe.head
        self._forget()
        if is_solved(head) and training is None:
            rows = self._features.rows[self._features.rows_of(examples)]
            weights = class_weights(examples, self.classes, balance=True)
            indices = np.array([self.classes.index(example.label) for example in examples])
            told = memberships(examples, self.classes)
            head.solve(self._back, rows, told, weights[indices], strength)
        else:
            options = training or HeadTraining(weight_decay=strength, seed=self.seed)
            self._descend(examples, options)
        return self.answer

    def answer(self, examples: Sequence[Example]) -> Answers:
        """Return what the head, as last fitted, gives for examples that it has features of."""
        rows = self._features.rows_of(examples)
        parts = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        scores = [self._run(self._features.rows[part].astype(np.float32)) for part in parts]
        return Answers(np.concatenate(scores), self._pooled_rows(examples))

    def _descend(self, examples: Sequence[Example], options: HeadTraining) -> None:
        learned, judged = list(examples), list[Example]()
        if options.validation:
            sides = split_holdout(examples, options.seed + 1, options.validation)
            judged = [example for example in examples if sides[example.sha256] == "holdout"]
            rest = [example for example in examples if sides[example.sha256] == "train"]
            learned = (
                rest
                if {label for e in rest for label in e.labels} == set(self.classes)
                else learned
            )
        head, progress = self._bench.recipe.head, self._bench.progress
        fit_head(self._back, head, self.classes, self._features, learned, judged, options, progress)

    def _extract(self, front: "keras.Model", examples: Sequence[Example]) -> Features[Example]:
        return extract(front, examples, self._bench)

    def _average(
        self, front: "keras.Model", examples: Sequence[Example]
    ) -> Features[Example] | None:
        """Averaged features, where those of the head are something else again."""
        import keras

        if len(front.output_shape) == 4 or isinstance(
            front.layers[-1], keras.layers.GlobalAveragePooling2D
        ):
            return None
        whole = features_model(self.model)
        pooled = keras.layers.GlobalAveragePooling2D()(whole.output)
        return self._extract(keras.Model(whole.input, pooled), examples)

    def _pooled_rows(self, examples: Sequence[Example]) -> NDArray[np.float32]:
        source = self._pooled or self._features
        rows = source.rows[source.rows_of(examples)].astype(np.float32)
        return rows.mean(axis=(1, 2)) if rows.ndim == 4 else rows


def is_solved(head: Head) -> TypeGuard[SolvedHead]:
    """Tell whether the best weights of this head, with its options, are computed in one go."""
    return isinstance(head, SolvedHead) and bool(head.strengths())


@dataclass(frozen=True, slots=True)
class Chosen:
    """A regularisation, what came out of folds with it, and how many folds that were."""

    strength: float
    found: OutOfFold | None
    folds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Fixed:
    probe: Probe
    strength: float
    training: HeadTraining | None

    def fit(self, examples: Sequence[Example]) -> Callable[[Sequence[Example]], Answers]:
        return self.probe.fit(examples, self.strength, self.training)


def choose_strength(
    probe: Probe,
    bench: Bench,
    strengths: Sequence[float],
    folds: int | None,
    training: HeadTraining | None = None,
) -> Chosen:
    """Cross-validate every strength on the same folds; the least calibrated log loss wins.

    `folds` None takes as many as fit into the budget, `FOLDS` at most.
    """
    began = time.perf_counter()
    numbers = fold_numbers(probe.examples, probe.seed)
    if folds is None:
        folds = _affordable_folds(probe, bench, strengths, training)
    reading = bench.recipe.head.reading
    best: tuple[float, float, OutOfFold | None] = (np.inf, strengths[0], None)
    for strength in strengths:
        learner = _Fixed(probe, strength, training)
        found = cross_validate(learner, probe.examples, probe.classes, numbers, folds, probe.seed)
        if found is None:
            break
        loss = judge(reading, found).loss
        best = min(best, (loss, strength, found), key=lambda each: each[0])
    return Chosen(best[1], best[2], folds, time.perf_counter() - began)


def _affordable_folds(
    probe: Probe, bench: Bench, strengths: Sequence[float], training: HeadTraining | None
) -> int:
    """Time one fit on everything, and see how many of them the budget holds."""
    began = time.perf_counter()
    probe.fit(probe.examples, strengths[len(strengths) // 2], training)
    fit_s = time.perf_counter() - began
    bench.need(fit_s * (len(strengths) + 1), f"fitting head {bench.recipe.head.name!r}")
    return affordable(fit_s * len(strengths), bench.left_s(), FOLDS)


def extract(front: "keras.Model", items: Sequence[ItemT], bench: Bench) -> Features[ItemT]:
    """Return features of the recipe's backbone, as `front` has them, through the lasting cache."""
    recipe = bench.recipe
    decoded = {} if bench.limits.scaled else {"scaled": False}
    cache = open_cache(
        front,
        bench.features,
        backbone=recipe.backbone.name,
        options=dict(recipe.backbone_options),
        geometry=str(recipe.geometry),
        **decoded,
    )
    return extract_features(front, items, recipe.geometry, bench.limits, cache, bench.progress)


def read_features(
    bench: Bench, classes: Sequence[str], items: Sequence[ItemT], seed: int
) -> Features[ItemT]:
    """Return what the configured head will see of these items; finds what cannot be read."""
    return extract(cut(_classifier(bench, classes, seed))[0], items, bench)


def _classifier(bench: Bench, classes: Sequence[str], seed: int) -> "keras.Model":
    """Build the recipe's classifier; random weights are those of the seed."""
    import keras

    keras.utils.set_random_seed(seed)
    recipe = bench.recipe
    return build_classifier(recipe.backbone, recipe.head, classes, recipe.geometry, recipe.weights)


def _check_classes(classes: Sequence[str], examples: Sequence[Example]) -> None:
    if missing := set(classes) - {label for example in examples for label in example.labels}:
        raise TrainingError(
            f"no image of class {min(missing)!r} is left to learn from: they are held out or"
            " cannot be read; label more of them"
        )
