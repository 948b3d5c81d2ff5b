"""Which images are most worth labelling next: doubtful ones that differ from each other."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]
Distances = Callable[[int], Numbers]
"""Gives how far every row is from one row, `float32[N]`."""

_LEAST = 1e-3  # among copies of what was asked for, the most doubtful still comes first
_SAMPLE = 50


def worth_labelling(
    doubt: Numbers, distances: Distances, labelled: Sequence[int] = (), count: int = 50
) -> list[int]:
    """Return the rows most worth labelling, the best first, none of them `labelled`.

    `doubt` is `float32[N]`, 0 (sure) to 1. Each next row is the most doubtful, less so the nearer
    it is to one chosen before or already labelled: farthest-first traversal (Gonzalez, "Clustering
    to minimize the maximum intercluster distance", 1985) weighed by the doubt. So ten frames
    of one puzzling scene are asked for once. What is far enough gains nothing by being farther,
    or oddities would come first.
    """
    unsure = np.array(doubt, np.float32)
    far = _far_enough(distances, len(unsure))
    apart = np.ones(len(unsure), np.float32)
    for row in labelled:
        apart = np.minimum(apart, distances(row) / far)
    unsure[list(labelled)] = -1
    chosen: list[int] = []
    for _ in range(min(count, len(unsure) - len(set(labelled)))):
        best = int((unsure * np.maximum(apart, _LEAST)).argmax())
        chosen.append(best)
        unsure[best] = -1
        apart = np.minimum(apart, distances(best) / far)
    return chosen


def by_hashes(hashes: Sequence[str]) -> Distances:
    """Measure between perceptual hashes (16 hexadecimal digits) by differing bits, 1 at half."""
    bits = np.array([int(text, 16) for text in hashes], np.uint64)
    return lambda row: np.asarray(np.bitwise_count(bits ^ bits[row]) / 32, np.float32)


def _far_enough(distances: Distances, count: int) -> float:
    """Return half the median distance between two rows, from an even sample of them."""
    sample = range(0, count, max(1, count // _SAMPLE))
    apart = [np.delete(distances(row), row) for row in sample]
    found = float(np.median(np.concatenate(apart))) / 2 if count > 1 else 0.0
    return found or 1.0
