"""Which of several backbones to take: the quickest that is as good as the best, as far as can be
told from these images.

Pure. Being as good means within one standard error of the difference, taken image by image: the
one-standard-error rule (Breiman, Friedman, Olshen and Stone, "Classification and Regression
Trees", 1984), so that nobody pays for an advantage that may be chance.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from daemon.learning.paired import Paired, paired


@dataclass(frozen=True, slots=True)
class Trial:
    """One backbone, measured.

    `right` tells for each image (SHA-256) whether it was recognised by a model that had not
    learned from it; `images_per_s` is the whole classifier's speed, `megabytes` (10**6 bytes) the
    size of its bundle.
    """

    title: str
    right: Mapping[str, bool]
    images_per_s: float
    megabytes: float

    @property
    def accuracy(self) -> float:
        """Share of the images that were recognised, 0 to 1."""
        return sum(self.right.values()) / len(self.right)

    @property
    def standard_error(self) -> float:
        """Standard error of `accuracy`, never 0 for what a few images said."""
        share = (sum(self.right.values()) + 1) / (len(self.right) + 2)
        return sqrt(share * (1 - share) / len(self.right))


@dataclass(frozen=True, slots=True)
class Advice:
    """The trial to choose, and why in sentences."""

    chosen: Trial
    reasons: tuple[str, ...]


def recommend(trials: Sequence[Trial]) -> Advice:
    """Choose among one or more trials, which share at least one image."""
    best = max(trials, key=lambda trial: (trial.accuracy, trial.images_per_s))
    level = [trial for trial in trials if not _is_worse(trial, best)]
    chosen = max(level, key=lambda trial: (trial.images_per_s, -trial.megabytes))
    return Advice(chosen, tuple(_reasons(trials, best, chosen)))


def _reasons(trials: Sequence[Trial], best: Trial, chosen: Trial) -> Iterator[str]:
    yield f"{best.title} recognises most: {best.accuracy:.1%} of {len(best.right)} images."
    if chosen is not best:
        yield (
            f"{chosen.title} is as good as far as these images can tell"
            f" ({_difference(best, chosen)}), and {_times(chosen, best)} as fast."
        )
    for trial in sorted(trials, key=lambda trial: -trial.images_per_s):
        if trial.images_per_s > chosen.images_per_s:
            yield (
                f"{trial.title} is {_times(trial, chosen)} as fast, but recognises fewer"
                f" ({_difference(best, trial)})."
            )


def _is_worse(trial: Trial, best: Trial) -> bool:
    compared = _paired(best, trial)
    return compared.difference > compared.standard_error


def _paired(best: Trial, trial: Trial) -> Paired:
    """Compare on the images that both were asked about."""
    both = sorted(best.right.keys() & trial.right.keys())
    first, second = (np.array([each.right[sha256] for sha256 in both]) for each in (best, trial))
    return paired(first, second)


def _difference(best: Trial, trial: Trial) -> str:
    compared = _paired(best, trial)
    points, error = 100 * compared.difference, 100 * compared.standard_error
    return f"{points:.1f} points less, ± {error:.1f}"


def _times(trial: Trial, other: Trial) -> str:
    return f"{trial.images_per_s / other.images_per_s:.1f} times"
