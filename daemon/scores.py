"""From what a model gives to what is recorded: calibrated confidences and verdicts.

Confidences are calibrated by temperature scaling (Guo et al., "On Calibration of Modern Neural
Networks", 2017): logits are divided by T before the last softmax or sigmoid, which moves how
sure the model is and never which class of a `probabilities` or `binary` model comes first.
A verdict is `unknown` where the confidence is too low or the image too far from all that the
model was trained on: docs/explanation/trust.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Score, Verdict
from daemon.errors import BundleError

DEFAULT_THRESHOLD = 0.5
_TOLERANCE = 0.02  # reduced-precision runtimes miss 0, 1 and the sum of 1 by a little
_TINY = 1e-12  # keeps logarithms of 0 and 1 finite


@dataclass(frozen=True, slots=True)
class Limits:
    """Where `unknown` begins; None is no limit.

    `threshold`: least confidence, 0 to 1. `novelty`: greatest distance from what was seen in
    training, 0 to 2, for models that tell it.
    """

    threshold: float | None = None
    novelty: float | None = None


def split_novelty(
    scores: NDArray[np.float32], has_novelty: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Part what a model gives into raw scores `[N, C]` and novelty `[N]`, its last column."""
    if not has_novelty:
        return scores, None
    return scores[:, :-1], scores[:, -1]


def read_scores(
    reading: str, scores: NDArray[np.float32], temperature: float = 1.0
) -> NDArray[np.float32]:
    """Turn raw scores `float32[N, C]` into confidences `float32[N, classes]`, each 0 to 1.

    `probabilities`: rows that sum to 1. `binary`: one p a row, read as [1-p, p].
    `independent`: one p a class. `margins`: any numbers, softmax makes them probabilities.
    `temperature` above 1 makes the model less sure, below 1 more.
    Raises `BundleError` for scores that are not finite or not probabilities: the model is broken.
    """
    if reading not in _READINGS:
        known = ", ".join(_READINGS)
        raise BundleError(f"scores read as {reading!r}: unknown to this classifyd, not of: {known}")
    exact = np.asarray(scores, np.float64)
    _check(exact, reading)
    return _READINGS[reading](exact, temperature).astype(np.float32)


def verdicts(
    scores: NDArray[np.float32],
    classes: Sequence[str],
    reading: str,
    temperature: float = 1.0,
    top_k: int = 5,
    thresholds: Mapping[str, float] | None = None,
    limits: Limits = Limits(),
    has_novelty: bool = False,
) -> list[Verdict]:
    """Read raw scores `float32[N, C]` as one verdict an image, confidences to 6 decimals.

    With `has_novelty` the last column is no score but the novelty: see `split_novelty`.

    `top` holds the `top_k` surest classes, and for `independent` every class that reaches its
    threshold (0.5 where `thresholds` has none), however many. Raises `BundleError` for scores
    that are no probabilities or do not fit the classes.
    """
    scores, novelty = split_novelty(scores, has_novelty)
    confidences = read_scores(reading, scores, temperature)
    if confidences.shape[1] != len(classes):
        raise BundleError(
            f"the model gives {confidences.shape[1]} scores for {len(classes)} classes"
            f" ({', '.join(classes)}); activate another model version"
        )
    counting = np.array([(thresholds or {}).get(name, DEFAULT_THRESHOLD) for name in classes])
    counts = np.full(len(confidences), top_k)
    if reading == "independent":
        counts = np.maximum(counts, (confidences >= counting).sum(axis=1))
    unknown = is_unknown(confidences, novelty, limits)
    order = np.argsort(-confidences, axis=1, kind="stable")[:, : counts.max(initial=0)]
    sure = np.take_along_axis(confidences, order, axis=1)
    columns = (order, sure, counts, unknown)
    return [_verdict(classes, *row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def is_unknown(
    confidences: NDArray[np.float32], novelty: NDArray[np.float32] | None, limits: Limits
) -> NDArray[np.bool_]:
    """Tell which images `[N]` are unknown: too little confidence, or too novel."""
    unknown = np.zeros(len(confidences), bool)
    if limits.threshold is not None and len(confidences):
        unknown |= confidences.max(axis=1) < limits.threshold
    if limits.novelty is not None and novelty is not None:
        unknown |= novelty > limits.novelty
    return unknown


def _verdict(
    classes: Sequence[str],
    order: Sequence[int],
    confidences: Sequence[float],
    count: int,
    is_unknown: bool,
) -> Verdict:
    best = zip(order[:count], confidences[:count], strict=True)
    top = tuple(Score(classes[index], round(confidence, 6)) for index, confidence in best)
    return Verdict(top[0].label, top[0].confidence, top, is_unknown)


def _check(scores: NDArray[np.float64], reading: str) -> None:
    if not np.isfinite(scores).all():
        raise _broken("scores that are no numbers (NaN or infinity)")
    if reading == "margins":
        return
    if (np.abs(scores - 0.5) > 0.5 + _TOLERANCE).any():
        raise _broken(f"scores outside 0 to 1 ({scores.min():.3g} to {scores.max():.3g})")
    sums = scores.sum(axis=1)
    if reading == "probabilities" and (np.abs(sums - 1) > _TOLERANCE).any():
        raise _broken(f"probabilities that sum to {sums[np.abs(sums - 1).argmax()]:.3g}, not 1")


def _broken(what: str) -> BundleError:
    return BundleError(
        f"the model gives {what}: it is damaged or was made for another reading;"
        " go back with `classifyd models rollback`, or train it again"
    )


def _clipped(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(p, _TINY, 1 - _TINY)


def _of_probabilities(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    return _softmax(np.log(_clipped(p)), temperature)


def _softmax(numbers: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    logits = numbers / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    p = _clipped(p)
    logits = (np.log(p) - np.log1p(-p)) / temperature
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))  # 1 / (1 + exp(-x)), free of overflow


def _two_classes(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    second = _sigmoid(p, temperature)
    return np.hstack([1 - second, second])


_READINGS = {
    "probabilities": _of_probabilities,
    "binary": _two_classes,
    "independent": _sigmoid,
    "margins": _softmax,
}
