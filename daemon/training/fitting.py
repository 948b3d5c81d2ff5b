"""Step five: the head learns by gradient descent on its loss, the backbone stays as it is."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daemon.contracts import Head
from daemon.errors import TrainingError
from daemon.learning.options import HeadTraining
from daemon.training.collect import Progress
from daemon.training.features import Features, Labelled, compiled

if TYPE_CHECKING:
    import keras

Indices = NDArray[np.int64]
Numbers = NDArray[np.float32]


def fit_head(
    back: "keras.Model",
    head: Head,
    classes: Sequence[str],
    features: Features[Any],
    training: Sequence[Labelled],
    validation: Sequence[Labelled],
    options: HeadTraining,
    progress: Progress,
) -> int:
    """Fit `back`, the part from features to scores, in place; returns the best epoch.

    The weights of the least loss on `validation` are kept; `options.patience` epochs without
    a lesser one end it. Where `validation` is empty, the last epoch's are. Raises `TrainingError`
    when the loss is no number any more.
    """
    back.compile(_optimizer(options), head.loss(), jit_compile=False)
    weights = class_weights(training, classes, options.balance)
    learned = _Examples.of(training, features, head, classes, weights)
    judged = _Examples.of(validation or training, features, head, classes, weights)
    random, run = np.random.default_rng(options.seed), compiled(back)
    least, best, kept = np.inf, 0, back.get_weights()
    epochs, patience = options.passes(len(training))
    for epoch in range(1, epochs + 1):
        for chosen in shuffled(len(training), options.batch_size, random):
            back.train_on_batch(*learned.batch(chosen))
        loss = _loss(run, judged, options)
        progress("fit", epoch, epochs)
        if loss < least or not validation:
            least, best, kept = loss, epoch, back.get_weights()
        if epoch - best >= patience:
            break
    back.set_weights(kept)
    return best


@dataclass(frozen=True, slots=True)
class _Examples:
    """Some items as numbers; features are read from disk for one batch at a time."""

    features: Features[Any]
    head: Head
    rows: Indices
    labels: Indices
    told: Indices
    class_weights: Numbers

    @classmethod
    def of(
        cls,
        items: Sequence[Labelled],
        features: Features[Any],
        head: Head,
        classes: Sequence[str],
        class_weights: Numbers,
    ) -> "_Examples":
        number = {name: number for number, name in enumerate(classes)}
        labels = np.array([number[item.label] for item in items], np.int64)
        told = memberships(items, classes)
        return cls(features, head, features.rows_of(items), labels, told, class_weights)

    def batch(self, chosen: Indices) -> tuple[Numbers, Numbers, Numbers]:
        """Return features, targets and weights of the chosen examples."""
        labels = self.labels[chosen]
        targets = self.head.targets(self.told[chosen], len(self.class_weights))
        inputs = self.features.rows[self.rows[chosen]].astype(np.float32)
        return inputs, targets, self.class_weights[labels]


def memberships(items: Sequence[Labelled], classes: Sequence[str]) -> Indices:
    """Return class numbers `[N]`, or where an image has several classes 0 and 1 `[N, C]`, as
    heads that read each score by itself take their targets."""
    number = {name: number for number, name in enumerate(classes)}
    if all(len(item.labels) == 1 for item in items):
        return np.array([number[item.label] for item in items], np.int64)
    told = np.zeros((len(items), len(classes)), np.int64)
    for row, item in enumerate(items):
        told[row, [number[label] for label in item.labels]] = 1
    return told


def shuffled(count: int, size: int, random: np.random.Generator) -> Iterator[Indices]:
    """Yield every number below `count` once, in batches of one size: one graph serves them all.

    Numbers of the first batch fill up the last.
    """
    size = min(size, count)
    order = np.resize(random.permutation(count), -(-count // size) * size)
    yield from order.reshape(-1, size)


def _loss(run: Callable[[Numbers], Numbers], examples: _Examples, options: HeadTraining) -> float:
    loss = examples.head.loss()
    everything = np.arange(len(examples.rows))
    total = 0.0
    for chosen in np.array_split(everything, -(-len(everything) // 256)):
        inputs, targets, weights = examples.batch(chosen)
        total += float(loss(targets, run(inputs), sample_weight=weights)) * len(chosen)
    if not np.isfinite(total):
        raise TrainingError(
            f"training broke: the loss is no number any more (learning rate"
            f" {options.learning_rate:g}); lower the learning rate, or check the backbone's weights"
        )
    return total / len(everything)


def _optimizer(options: HeadTraining) -> "keras.optimizers.Optimizer":
    import keras

    if options.optimizer == "sgd":
        return keras.optimizers.SGD(
            options.learning_rate, momentum=0.9, weight_decay=options.weight_decay or None
        )
    return keras.optimizers.AdamW(options.learning_rate, weight_decay=options.weight_decay)


def class_weights(items: Sequence[Labelled], classes: Sequence[str], balance: bool) -> Numbers:
    """Weigh classes `[C]` so that each counts the same, and an image 1 on average."""
    if not balance:
        return np.ones(len(classes), np.float32)
    counts = Counter(label for item in items for label in item.labels)
    weights = [len(items) / (len(classes) * counts[name]) for name in classes]
    return np.array(weights, np.float32)
