"""From what a model gives to what is recorded: calibrated confidences and verdicts.

Confidences are calibrated by temperature scaling (Guo et al., "On Calibration of Modern Neural
Networks", 2017): logits are divided by T before the last softmax or sigmoid, which moves how
sure the model is and never which class of a `probabilities` or `binary` model comes first.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.domain import Score, Verdict
from daemon.errors import BundleError

DEFAULT_THRESHOLD = 0.5
_TOLERANCE = 0.02  # reduced-precision runtimes miss 0, 1 and the sum of 1 by a little
_TINY = 1e-12  # keeps logarithms of 0 and 1 finite


def read_scores(
    reading: str, scores: NDArray[np.float32], temperature: float = 1.0
) -> NDArray[np.float32]:
    """Turn raw scores `float32[N, C]` into confidences `float32[N, classes]`, each 0 to 1.

    `probabilities`: rows that sum to 1. `binary`: one p a row, read as [1-p, p].
    `independent`: one p a class. `temperature` above 1 makes the model less sure, below 1 more.
    Raises `BundleError` for scores that are not finite or not probabilities: the model is broken.
    """
    if reading not in _READINGS:
        known = ", ".join(_READINGS)
        raise BundleError(f"scores read as {reading!r}: unknown to this classifyd, not of: {known}")
    exact = np.asarray(scores, np.float64)
    _check(exact, reading)
    confidences = _READINGS[reading](np.clip(exact, _TINY, 1 - _TINY), temperature)
    return confidences.astype(np.float32)


def verdicts(
    scores: NDArray[np.float32],
    classes: Sequence[str],
    reading: str,
    temperature: float = 1.0,
    top_k: int = 5,
    thresholds: Mapping[str, float] | None = None,
) -> list[Verdict]:
    """Read raw scores `float32[N, C]` as one verdict an image, confidences to 6 decimals.

    `top` holds the `top_k` surest classes, and for `independent` every class that reaches its
    threshold (0.5 where `thresholds` has none), however many. Raises `BundleError` for scores
    that are no probabilities or do not fit the classes.
    """
    confidences = read_scores(reading, scores, temperature)
    if confidences.shape[1] != len(classes):
        raise BundleError(
            f"the model gives {confidences.shape[1]} scores for {len(classes)} classes"
            f" ({', '.join(classes)}); activate another model version"
        )
    limits = np.array([(thresholds or {}).get(name, DEFAULT_THRESHOLD) for name in classes])
    counts = np.full(len(confidences), top_k)
    if reading == "independent":
        counts = np.maximum(counts, (confidences >= limits).sum(axis=1))
    return [_verdict(row, classes, count) for row, count in zip(confidences, counts, strict=True)]


def _verdict(row: NDArray[np.float32], classes: Sequence[str], count: int) -> Verdict:
    order = np.argsort(-row, kind="stable")[:count]
    top = tuple(Score(classes[index], round(float(row[index]), 6)) for index in order)
    return Verdict(top[0].label, top[0].confidence, top)


def _check(scores: NDArray[np.float64], reading: str) -> None:
    if not np.isfinite(scores).all():
        raise _broken("scores that are no numbers (NaN or infinity)")
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


def _softmax(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    logits = np.log(p) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    logits = (np.log(p) - np.log1p(-p)) / temperature
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))  # 1 / (1 + exp(-x)), free of overflow


def _two_classes(p: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    second = _sigmoid(p, temperature)
    return np.hstack([1 - second, second])


_READINGS = {"probabilities": _softmax, "binary": _two_classes, "independent": _sigmoid}
