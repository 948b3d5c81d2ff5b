"""From where on an image is called unknown: pure over arrays, chosen on images not learned from.

The two limits catch different things: confidence what lies between the classes, novelty what is
like nothing that was seen. docs/explanation/trust.md tells how well each does.
"""

import numpy as np
from numpy.typing import NDArray

from daemon.classifier import NEIGHBOURS

MOST_REFERENCES = 1024


def confidence_threshold(
    sure: NDArray[np.float32], right: NDArray[np.bool_], target_error: float
) -> float | None:
    """Return the least confidence at which at most `target_error` of accepted images are wrong.

    `sure` and `right` are `[N]`. One more mistake than was seen is allowed for (as in conformal
    risk control, Angelopoulos et al., 2022) while there are images enough to promise that; with
    fewer, what was seen counts. 0 accepts any; None for no images; above every confidence where
    even the surest is wrong.
    """
    if not len(sure):
        return None
    order = np.argsort(-sure, kind="stable")
    accepted, wrong = np.arange(1, len(sure) + 1), np.cumsum(~right[order])
    careful = (wrong + 1) / (accepted + 1) <= target_error
    kept = careful if careful.any() else wrong / accepted <= target_error
    # Equally sure images are accepted together or not at all.
    kept &= np.append(sure[order][1:] < sure[order][:-1], True)
    if not kept.any():
        return 1.0
    last = int(np.flatnonzero(kept)[-1])
    return 0.0 if last == len(sure) - 1 else round(float(sure[order][last]) - 1e-6, 6)


def novelty_limit(novelty: NDArray[np.float32], false_alarms: float) -> float | None:
    """Return the novelty that `false_alarms` of these familiar images `[N]` exceed."""
    return round(float(np.quantile(novelty, 1 - false_alarms)), 6) if len(novelty) else None


def choose_references(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Choose the rows, `MOST_REFERENCES` at most and as many of each class, to compare with."""
    random = np.random.default_rng(seed)
    names = np.unique(labels)
    most = max(1, MOST_REFERENCES // max(len(names), 1))
    rows = [random.permutation(np.flatnonzero(labels == name))[:most] for name in names]
    return np.sort(np.concatenate(rows))


def novelty(rows: NDArray[np.float32], references: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far features `[N, F]` are from all `references` `[M, F]`, 0 to 2, as
    `daemon.classifier.with_novelty` computes it."""
    cosines = _unit(rows) @ _unit(references).T
    near = min(NEIGHBOURS, len(references))
    nearest = np.partition(cosines, -near, axis=1)[:, -near:]
    return np.asarray(1 - nearest.mean(axis=1), np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.asarray(rows / lengths, np.float32)
