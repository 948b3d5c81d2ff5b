"""How far confidence may be believed: measured, and mended by one number.

Pure over arrays. What goes in must come from images that the model did not learn from, and for
choosing the temperature never from the holdout. What is true of images (`truth`) are class
numbers `[N]`, or 0 and 1 `[N, C]` where images have several classes.
"""

import numpy as np
from numpy.typing import NDArray

from daemon.scores import read_scores

BINS = 10
_COLDEST, _HOTTEST = 0.02, 50.0
_GOLDEN = (5**0.5 - 1) / 2
_STEPS = 60
_TINY = 1e-7


def is_right(confidences: NDArray[np.float32], truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell of which images `[N]` the surest class is a true one.

    `truth` are class numbers `[N]`, or 0 and 1 `[N, C]` where images have several classes.
    """
    surest = confidences.argmax(axis=1)
    if truth.ndim == 1:
        return np.asarray(surest == truth)
    return np.asarray(truth[np.arange(len(truth)), surest] == 1)


def calibration_error(
    confidences: NDArray[np.float32], truth: NDArray[np.int64], bins: int = BINS
) -> float:
    """Return the expected calibration error, 0 to 1, of confidences `[N, C]`; 0 of no images.

    The mean distance between confidence and share of right answers over bins of equal count
    (Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015).
    """
    if not len(truth):
        return 0.0
    sure = confidences.max(axis=1).astype(np.float64)
    right = is_right(confidences, truth)
    parts = np.array_split(np.argsort(sure, kind="stable"), min(bins, len(truth)))
    gaps = [len(part) * abs(sure[part].mean() - right[part].mean()) for part in parts]
    return float(sum(gaps) / len(truth))


def log_loss(
    reading: str, scores: NDArray[np.float32], truth: NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Return the mean surprise at the true classes of raw scores `[N, C]`."""
    return float(surprises(reading, scores, truth, temperature).mean())


def surprises(
    reading: str, scores: NDArray[np.float32], truth: NDArray[np.int64], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return how surprising what is true is, `[N]` natural logarithms, given raw scores."""
    read = read_scores(reading, scores, temperature).astype(np.float64)
    sure = np.clip(read, _TINY, 1 - _TINY)
    if reading != "independent":
        return np.asarray(-np.log(sure[np.arange(len(truth)), truth]))
    told = truth if truth.ndim == 2 else np.eye(sure.shape[1], dtype=np.int64)[truth]
    return np.asarray(-np.where(told == 1, np.log(sure), np.log1p(-sure)).mean(axis=1))


def choose_temperature(
    reading: str, scores: NDArray[np.float32], truth: NDArray[np.int64]
) -> float:
    """Return the temperature, 0.02 to 50, of least log loss on raw scores `[N, C]`.

    A mild pull towards 1 (as strong as one image) keeps a handful of images that are all right
    from making the model certain. Golden-section search over its logarithm.
    """
    if not len(truth):
        return 1.0

    def cost(log_temperature: float) -> float:
        surprise = log_loss(reading, scores, truth, float(np.exp(log_temperature)))
        return surprise * len(truth) + log_temperature**2 / 2

    low, high = float(np.log(_COLDEST)), float(np.log(_HOTTEST))
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return round(float(np.exp((low + high) / 2)), 4)
