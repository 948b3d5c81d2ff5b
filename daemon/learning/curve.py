"""Have I labelled enough? How accuracy grows with the number of labels, class by class.

Accuracy follows a power law of the number of labels, a(n) = limit - b n^-c (Cortes et al.,
"Learning Curves: Asymptotic Values and Rate of Convergence", 1993). It is fitted to models that
learned from nested subsets of the labels, and asked what twice as many would bring.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from daemon.learning.dataset import Example

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
WORTH = 0.02
"""Accuracy (a share of 1) that twice as many labels must promise to be called worth it."""
_EXPONENTS = np.linspace(0.1, 2.0, 39)
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Point:
    """What a model that learned from `labels` images of a class makes of the class's holdout."""

    labels: int
    right: int
    images: int


@dataclass(frozen=True, slots=True)
class Curve:
    """How one class, or all (`label` None), comes along.

    `says` is `rising`, `plateau` or `too early`; `at_twice` is the accuracy to be expected of
    twice the labels, None where nothing can be said; `why` is a sentence with the figures.
    """

    label: str | None
    points: tuple[Point, ...]
    says: str
    at_twice: float | None
    why: str


def nested(
    examples: Sequence[Example], seed: int, shares: Sequence[float] = SHARES
) -> list[tuple[Example, ...]]:
    """Return subsets of the examples, each in the next, with the same share of every class.

    A class keeps at least one image. Depends on contents and seed alone.
    """
    order = sorted(examples, key=lambda each: _drawn(seed, each.sha256))
    by_class: dict[str, list[Example]] = {}
    for example in order:
        by_class.setdefault(example.label, []).append(example)
    return [
        tuple(
            example
            for label in sorted(by_class)
            for example in by_class[label][: max(1, round(len(by_class[label]) * share))]
        )
        for share in shares
    ]


def curve(label: str | None, points: Iterable[Point]) -> Curve:
    """Fit one class's points, of growing `labels`, and say what more labels would bring."""
    known = tuple(sorted(points, key=lambda point: point.labels))
    last = known[-1] if known else Point(0, 0, 0)
    if len({point.labels for point in known}) < _FEWEST or not last.images:
        why = f"{last.labels} labels and {last.images} held-out images are too few to tell"
        return Curve(label, known, "too early", None, why)
    at_twice = _expected(known, 2 * last.labels)
    now = last.right / last.images
    gain = at_twice - _expected(known, last.labels)
    says = "rising" if gain >= WORTH else "plateau"
    advice = "worth labelling more" if says == "rising" else "more of the same bring little"
    why = (
        f"{now:.0%} right with {last.labels} labels (± {_error(last):.0%}), about"
        f" {gain * 100:+.0f} points to be expected of twice as many: {advice}"
    )
    return Curve(label, known, says, round(at_twice, 4), why)


def curves(points: Mapping[str, Sequence[Point]]) -> list[Curve]:
    """Fit every class, and all together first (labels a class on average)."""
    return [
        curve(None, _pooled(list(points.values()))),
        *(curve(label, points[label]) for label in sorted(points)),
    ]


def _pooled(classes: Sequence[Sequence[Point]]) -> list[Point]:
    if not classes:
        return []
    steps = zip(*classes, strict=True)
    return [
        Point(
            round(sum(point.labels for point in step) / len(step)),
            sum(point.right for point in step),
            sum(point.images for point in step),
        )
        for step in steps
    ]


def _expected(points: Sequence[Point], labels: int) -> float:
    """Return the fitted accuracy at so many labels, 0 to 1."""
    counts = np.array([max(point.labels, 1) for point in points], float)
    shares = np.array([point.right / max(point.images, 1) for point in points])
    limit, slope, exponent = min(
        (_fitted(counts, shares, exponent) for exponent in _EXPONENTS),
        key=lambda fit: float(np.square(fit[0] - fit[1] * counts ** -fit[2] - shares).sum()),
    )
    return float(np.clip(limit - slope * labels**-exponent, 0, 1))


def _fitted(
    counts: NDArray[np.float64], shares: NDArray[np.float64], exponent: float
) -> tuple[float, float, float]:
    """Return limit, slope and exponent of the best curve that never falls nor passes 1."""
    falling = counts**-exponent
    spread = falling - falling.mean()
    slope = max(0.0, -float(spread @ (shares - shares.mean()) / (spread @ spread)))
    limit = float(shares.mean() + slope * falling.mean())
    if limit > 1:
        limit, slope = 1.0, max(0.0, float(falling @ (1 - shares) / (falling @ falling)))
    return limit, slope, exponent


def _error(point: Point) -> float:
    """Return the standard error of a share, never 0 for what a few images said."""
    share = (point.right + 1) / (point.images + 2)
    return sqrt(share * (1 - share) / point.images)


def _drawn(seed: int, sha256: str) -> str:
    return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()
