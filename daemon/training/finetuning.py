"""Training on into the backbone: head first, then deeper layers at a lower learning rate.

The order is that of Kumar et al., "Fine-Tuning can Distort Pretrained Features" (2022): a head
fitted to the frozen features first, so that the first steps do not wreck good filters.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daemon.classifier import backbone_of, features_model, head_of
from daemon.errors import TrainingError
from daemon.learning.dataset import Example
from daemon.learning.options import Tuning
from daemon.training.augmenting import Augmenting, applied, draw
from daemon.training.bench import Bench
from daemon.training.features import compiled, snapshot
from daemon.training.fitting import class_weights, memberships, shuffled
from daemon.training.pixels import Pixels
from daemon.training.probing import Probe
from daemon.training.validation import Answers

if TYPE_CHECKING:
    import keras

_WARM_UP = 0.1  # share of the steps
_BLOCK = 32
_SMOOTHED = {"probabilities", "binary", "independent"}
Numbers = NDArray[np.float32]


class FineTuner:
    """Fits a whole classifier, again and again from the same start.

    Batch normalisation stays in inference mode throughout, and AdamW (Loshchilov and Hutter,
    2019) follows a warmed-up cosine.
    """

    def __init__(self, bench: Bench, probe: Probe, strength: float, tuning: Tuning) -> None:
        self.model, self.classes = probe.model, probe.classes
        self._bench, self._probe, self._strength, self._tuning = bench, probe, strength, tuning
        self._forget = snapshot(self.model)
        _unfreeze(backbone_of(self.model), tuning.unfrozen)
        self._pixels = Pixels(probe.examples, bench.recipe.geometry, bench.limits, bench.scratch)
        self.examples = tuple(each for each in probe.examples if each.sha256 in self._pixels)
        self._step, self._reset = _make_step(self.model, bench, tuning)
        self._run = compiled(_both(self.model))
        self._mean = _Mean(self.model.trainable_variables)

    def fit(self, examples: Sequence[Example]) -> Callable[[Sequence[Example]], Answers]:
        """Start again from the pretrained backbone and learn from these."""
        import keras

        keras.utils.set_random_seed(self._probe.seed)
        self._forget()
        self._probe.fit(examples, self._strength)
        self._reset()
        self._train(examples, self._tuning.steps(len(examples)))
        self._mean.add()
        return self.answer

    def blend(self) -> Callable[[Sequence[Example]], Answers]:
        """Give the classifier the mean weights of all fits so far.

        Fits from one start lie in one valley of the loss, so their mean answers much as all of
        them together would (Wortsman et al., "Model soups", 2022).
        """
        self._mean.assign()
        return self.answer

    def time_a_step(self) -> float:
        """Return the seconds of one step, from a few that are thrown away."""
        self._train(self.examples, 2, of=100)
        began = time.perf_counter()
        self._train(self.examples, 4, of=100)
        return (time.perf_counter() - began) / 4

    def seconds(self, images: int, step_s: float) -> float:
        """Estimate the seconds of one fit on so many images."""
        return self._tuning.steps(images) * step_s

    def answer(self, examples: Sequence[Example]) -> Answers:
        """Run the classifier, as last fitted, on examples."""
        rows = self._pixels.rows_of(examples)
        parts = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        both = np.concatenate([self._run(self._pixels.images[part]) for part in parts])
        width = int(self.model.output_shape[-1])
        return Answers(both[:, :width], both[:, width:])

    def _train(self, examples: Sequence[Example], steps: int, of: int | None = None) -> None:
        """Make `steps` steps of a schedule `of` so many."""
        tuning, seed = self._tuning, self._probe.seed
        random = np.random.default_rng(seed)
        rows = self._pixels.rows_of(examples)
        indices = np.array([self.classes.index(example.label) for example in examples])
        weights = class_weights(examples, self.classes, balance=True)[indices]
        told = memberships(examples, self.classes)
        targets = _targets(self._bench, told, len(self.classes), tuning.label_smoothing)
        order = _endless(len(rows), tuning.size(len(rows)), random)
        for number in range(steps):
            chosen = next(order)
            rate = _rate(tuning.learning_rate, number, of or steps)
            change = draw(random, len(chosen), tuning.augment)
            images = self._pixels.images[rows[chosen]]
            loss = self._step(rate, images, change, targets[chosen], weights[chosen])
            if number % 20 == 19 or number == steps - 1:
                _check(float(loss), tuning)
                self._bench.progress("fit", number + 1, steps)


class _Mean:
    """The mean of what variables were whenever it was asked to `add` them."""

    def __init__(self, variables: "Sequence[keras.Variable]") -> None:
        self._variables, self._count = variables, 0
        self._values = [np.zeros(variable.shape, np.float32) for variable in variables]

    def add(self) -> None:
        self._count += 1
        for value, variable in zip(self._values, self._variables, strict=True):
            value += (np.array(variable) - value) / self._count

    def assign(self) -> None:
        for value, variable in zip(self._values, self._variables, strict=True):
            variable.assign(value)


def _unfreeze(backbone: "keras.Model", share: float) -> None:
    import keras

    backbone.trainable = True
    first = len(backbone.layers) - math.ceil(share * len(backbone.layers))
    for number, layer in enumerate(backbone.layers):
        is_normal = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= first and not is_normal


def _both(model: "keras.Model") -> "keras.Model":
    """Scores and averaged features of an image in one output."""
    import keras

    front = features_model(model)
    pooled = keras.layers.GlobalAveragePooling2D()(front.output)
    scores = head_of(model)(front.output)
    return keras.Model(front.input, keras.layers.Concatenate()([scores, pooled]))


def _make_step(
    model: "keras.Model", bench: Bench, tuning: Tuning
) -> tuple[Callable[..., Any], Callable[[], None]]:
    """Return one traced training step, and what makes its optimizer forget."""
    import keras
    import tensorflow as tf

    loss_of = bench.recipe.head.loss()
    optimizer = keras.optimizers.AdamW(tuning.learning_rate, weight_decay=tuning.weight_decay)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
    def step(rate: Any, images: Any, change: Any, targets: Any, weights: Any) -> Any:
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            scores = model(applied(images, *change), training=True)
            loss = loss_of(targets, scores, sample_weight=weights)
        slopes = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
        return loss

    def run(rate: float, images: Any, change: Augmenting, targets: Any, weights: Any) -> Any:
        return step(tf.constant(rate), tf.constant(images), change.tensors(), targets, weights)

    def reset() -> None:
        for variable in optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))

    return run, reset


def _targets(bench: Bench, told: NDArray[np.int64], classes: int, smoothing: float) -> Numbers:
    head = bench.recipe.head
    targets = head.targets(told, classes)
    if head.reading not in _SMOOTHED:
        return targets
    evenly = 1 / targets.shape[1] if head.reading == "probabilities" else 0.5
    return np.asarray(targets * (1 - smoothing) + smoothing * evenly, np.float32)


def _rate(highest: float, number: int, steps: int) -> float:
    """The learning rate of one step: a short rise, then half a cosine down to nothing."""
    rise = max(1, round(_WARM_UP * steps))
    if number < rise:
        return highest * (number + 1) / rise
    return highest * (1 + math.cos(math.pi * (number - rise) / max(1, steps - rise))) / 2


def _endless(count: int, size: int, random: np.random.Generator) -> Any:
    while True:
        yield from shuffled(count, size, random)


def _check(loss: float, tuning: Tuning) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"fine-tuning broke: the loss is no number any more (learning rate"
            f" {tuning.learning_rate:g}); lower the learning rate"
        )
