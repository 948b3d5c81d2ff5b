"""Judging a way of learning on the training side alone: folds, and what comes out of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.learning.calibration import (
    calibration_error,
    choose_temperature,
    is_right,
    log_loss,
    surprises,
)
from daemon.learning.dataset import Example
from daemon.learning.groups import groups
from daemon.learning.unknown import choose_references, novelty
from daemon.scores import read_scores
from daemon.training.challenger import OutOfFold
from daemon.training.fitting import memberships

FOLDS = 5
NEVER = -1


@dataclass(frozen=True, slots=True)
class Answers:
    """A fitted model's raw scores `[N, C]` for some examples, and pooled features `[N, F]`."""

    scores: NDArray[np.float32]
    pooled: NDArray[np.float32]


class Learner(Protocol):
    """A way of learning with all its settings."""

    def fit(self, examples: Sequence[Example]) -> Callable[[Sequence[Example]], Answers]:
        """Learn from these; what is returned answers until the next fit."""


def fold_numbers(examples: Sequence[Example], seed: int, folds: int = FOLDS) -> NDArray[np.int64]:
    """Deal the images of each class out to folds, `[N]`: which fold holds each one out.

    Depends on contents and seed alone. Images that show the same stay together, unless a class
    has no others. The only image of a class is never held out (`NEVER`).
    """
    row = {example.sha256: row for row, example in enumerate(examples)}
    alike = [[row[sha256] for sha256 in group] for group in groups(examples)]
    numbers = np.full(len(examples), NEVER, np.int64)
    for label in {example.label for example in examples}:
        own = [[each for each in group if examples[each].label == label] for group in alike]
        for number, group in enumerate(_dealt([group for group in own if group], examples, seed)):
            numbers[group] = number % folds
    return numbers


def _dealt(units: list[list[int]], examples: Sequence[Example], seed: int) -> Iterator[list[int]]:
    """Yield what is held out together, in an order that the seed gives; nothing if it is all."""
    if len(units) == 1:
        units = [[each] for each in units[0]]
    if len(units) > 1:
        drawn = {
            min(sha256(f"{seed}:{examples[row].sha256}".encode()).hexdigest() for row in unit): unit
            for unit in units
        }
        yield from (drawn[key] for key in sorted(drawn))


def class_numbers(examples: Iterable[Example], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return each example's class as its number, `[N]`."""
    number = {name: number for number, name in enumerate(classes)}
    return np.array([number[example.label] for example in examples], np.int64)


def cross_validate(
    learner: Learner,
    examples: Sequence[Example],
    classes: Sequence[str],
    folds: NDArray[np.int64],
    count: int,
    seed: int,
) -> OutOfFold | None:
    """Hold out the first `count` folds in turn; None where no image can be held out."""
    parts, truth = [], memberships(examples, classes)
    for fold in range(count):
        held_out = np.flatnonzero(folds == fold)
        if len(held_out):
            found = _judge(learner, examples, classes, held_out, seed)
            parts.append(replace(found, truth=truth[held_out]))
    return _joined(parts) if parts else None


def _judge(
    learner: Learner,
    examples: Sequence[Example],
    classes: Sequence[str],
    held_out: NDArray[np.int64],
    seed: int,
) -> OutOfFold:
    learned = [examples[row] for row in np.setdiff1d(np.arange(len(examples)), held_out)]
    judged = [examples[row] for row in held_out]
    answer = learner.fit(learned)
    known = [learned[row] for row in choose_references(class_numbers(learned, classes), seed)]
    answers = answer(judged)
    far = novelty(answers.pooled, answer(known).pooled)
    names = tuple(example.sha256 for example in judged)
    return OutOfFold(names, class_numbers(judged, classes), answers.scores, far)


def _joined(parts: Sequence[OutOfFold]) -> OutOfFold:
    return OutOfFold(
        tuple(name for part in parts for name in part.sha256s),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.novelty for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Judgement:
    """How good out-of-fold answers are, once calibrated; `loss` is what strategies compare."""

    accuracy: float
    loss: float
    temperature: float
    error_before: float
    error_after: float


def judge(reading: str, found: OutOfFold) -> Judgement:
    """Calibrate out-of-fold answers and measure them."""
    temperature = choose_temperature(reading, found.scores, found.truth)
    before = read_scores(reading, found.scores)
    after = read_scores(reading, found.scores, temperature)
    return Judgement(
        float(is_right(after, found.truth).mean()),
        log_loss(reading, found.scores, found.truth, temperature),
        temperature,
        calibration_error(before, found.truth),
        calibration_error(after, found.truth),
    )


@dataclass(frozen=True, slots=True)
class Gap:
    """How much more log loss one way of learning has than another: mean over the images that
    both were judged by, and its standard error."""

    images: int
    mean: float
    error: float


def gap(reading: str, found: OutOfFold, other_reading: str, other: OutOfFold) -> Gap | None:
    """Compare calibrated out-of-fold answers image by image; None where they share fewer than 2.

    Differences on the same images vary far less than the losses themselves.
    """
    both = set(found.sha256s) & set(other.sha256s)
    if len(both) < 2:
        return None
    more = _calibrated_losses(reading, found.on(both)) - _calibrated_losses(
        other_reading, other.on(both)
    )
    return Gap(len(both), float(more.mean()), float(more.std(ddof=1) / len(both) ** 0.5))


def _calibrated_losses(reading: str, found: OutOfFold) -> NDArray[np.float64]:
    """Each image's, in the order of their SHA-256."""
    temperature = choose_temperature(reading, found.scores, found.truth)
    losses = surprises(reading, found.scores, found.truth, temperature)
    return np.asarray(losses[np.argsort(found.sha256s)])


def affordable(fit_s: float, left_s: float, most: int) -> int:
    """How many folds fit into the time left beside the last fit on everything; at least 1."""
    return int(np.clip(left_s / max(fit_s, 1e-6) - 1, 1, most))
