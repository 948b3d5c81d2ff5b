"""Labels that are probably wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels"
(2021): an image counts as surely of a class when its confidence for it reaches the mean that
the class's own images have. Images that are surely of another class than their label fill the
off-diagonal of the confident joint. The confidences must be out of fold: a model that has seen
a wrong label during training agrees with it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.learning.audit import Finding, FindingKind
from daemon.learning.dataset import Example


def wrong_labels(
    examples: Sequence[Example], classes: Sequence[str], confidences: NDArray[np.float32]
) -> list[Finding]:
    """Return probably wrong labels, the surest first.

    `confidences` is `float32[N, C]`, out of fold, in the order of `examples` and `classes`.
    """
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([number[example.label] for example in examples], np.int64)
    surely = confident_classes(labels, confidences)
    rows = np.flatnonzero((surely >= 0) & (surely != labels))
    excess = confidences[rows, surely[rows]] - confidences[rows, labels[rows]]
    return [
        Finding(
            FindingKind.WRONG_LABEL,
            f"labelled {examples[row].label!r}, looks like {classes[surely[row]]!r}"
            f" ({confidences[row, surely[row]]:.2f} against {confidences[row, labels[row]]:.2f})",
            examples[row].sha256,
            examples[row].path,
        )
        for row in rows[np.argsort(-excess, kind="stable")]
    ]


def confident_classes(
    labels: NDArray[np.int64], confidences: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the class that each image is surely of, -1 where it is surely of none: `int64[N]`.

    The threshold of a class is the mean confidence for it among the images labelled so; of
    several classes above theirs the surest counts.
    """
    thresholds = _thresholds(labels, confidences)
    above = np.where(confidences >= thresholds, confidences, -np.inf)
    return np.where(np.isfinite(above).any(axis=1), above.argmax(axis=1), -1)


def confident_joint(
    labels: NDArray[np.int64], confidences: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Count labels (rows) against the classes that images are surely of: `int64[C, C]`."""
    surely = confident_classes(labels, confidences)
    sure = surely >= 0
    joint = np.zeros((confidences.shape[1],) * 2, np.int64)
    np.add.at(joint, (labels[sure], surely[sure]), 1)
    return joint


def _thresholds(labels: NDArray[np.int64], confidences: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each class's threshold; a class without images has one that nothing reaches."""
    return np.array(
        [
            confidences[labels == place, place].mean() if (labels == place).any() else np.inf
            for place in range(confidences.shape[1])
        ]
    )
